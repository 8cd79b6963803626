#include "request_plain.h"

#include "name_fold.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define SHORTEST 32 /* shorter texts go the long way; a name and its colon take up to 11 bytes, a block 16 */

/* One bit for each of 16 bytes that doesn't stand for itself inside a string or isn't above the quote in ASCII: so two
 * comparisons do. The second only matters for spaces and exclamation marks, which keys and names don't have. */
static inline unsigned special_bits(const uint8_t *p)
{
#if defined(__SSE2__)
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
    /* Signed: bytes beyond ASCII are less than any character. */
    __m128i above = _mm_cmpgt_epi8(block, _mm_set1_epi8('"')), backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(backslash, above)) ^ 0xFFFF;
#else
    unsigned bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (unsigned)(p[i] <= '"' || p[i] >= 0x80 || p[i] == '\\') << i;
    return bits;
#endif
}

/* The first special byte from `p` on, or `last`, which is none; p <= last. */
static inline const uint8_t *special_from(const uint8_t *p, const uint8_t *last)
{
    for (; p < last - 15; p += 16) {
        unsigned found = special_bits(p);
        if (found)
            return p + __builtin_ctz(found);
    }
    const uint8_t *from = last - 15; /* the last 16 bytes hold the rest */
    return p + __builtin_ctz((special_bits(from) | 0x8000) >> (p - from));
}

/* The plain string that begins at `p`, or one space later. Its closing quote, or NULL; never the last byte. */
static inline const uint8_t *plain_string(const uint8_t *p, const uint8_t *last, beast_slice *value)
{
    if (*p == ' ')
        p++;
    if (*p++ != '"')
        return NULL;
    const uint8_t *close = special_from(p, last);
    *value = (beast_slice){p, (uint32_t)(close - p)};
    return *close == '"' ? close : NULL;
}

static inline const uint8_t *plain_name(const uint8_t *p, const uint8_t *last, beast_name *name, bool upper)
{
    beast_slice text;
    const uint8_t *close = plain_string(p, last, &text);
    if (!close || text.len - 1 >= BEAST_ASSET_MAX) /* neither empty nor too long */
        return NULL;
    name->raw = text;
    name->escaped = false;
    beast_name_fold_ascii(name, text.ptr, text.len, upper);
    return close;
}

#define BEGINS(p, literal) (memcmp((p), (literal), sizeof(literal) - 1) == 0)

/* The closing quote of one member's value, or NULL; a member must not have been there before. */
static inline const uint8_t *plain_member(const uint8_t *p, const uint8_t *last, beast_request *req)
{
    ptrdiff_t left = last - p;
    if (left > 11 && BEGINS(p, "\"asset\":"))
        return req->n_assets++ ? NULL : plain_name(p + 8, last, &req->assets[0], true);
    if (left > 11 && BEGINS(p, "\"api_key\":"))
        return req->api_key.ptr ? NULL : plain_string(p + 10, last, &req->api_key);
    if (left > 11 && BEGINS(p, "\"exchange\":")) {
        bool again = req->has_exchange;
        req->has_exchange = true;
        return again ? NULL : plain_name(p + 11, last, &req->exchange, false);
    }
    if (left > 6 && BEGINS(p, "\"id\":")) {
        beast_slice id;
        const uint8_t *close = req->id.ptr ? NULL : plain_string(p + 5, last, &id);
        if (!close || id.len > BEAST_ID_MAX)
            return NULL;
        req->id = (beast_slice){id.ptr - 1, id.len + 2};
        return close;
    }
    return NULL;
}

bool beast_request_read_plain(const uint8_t *buf, size_t len, beast_request *req)
{
    const uint8_t *p = buf + 1, *last = buf + len - 1;
    if (len < SHORTEST || *buf != '{' || *last != '}')
        return false;
    while ((p = plain_member(p, last, req)) != NULL) {
        if (*++p == '}')
            return p == last && req->n_assets == 1;
        if (*p++ != ',')
            return false;
        if (*p == ' ')
            p++;
    }
    return false;
}
