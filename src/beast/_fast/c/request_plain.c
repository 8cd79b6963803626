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
    /* Signed and saturated: the difference is negative for whatever is not above the quote, or beyond ASCII. */
    __m128i low = _mm_subs_epi8(block, _mm_set1_epi8('"' + 1)), backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, backslash));
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
            return p + (unsigned)__builtin_ctz(found);
    }
    const uint8_t *from = last - 15; /* the last 16 bytes hold the rest */
    return p + (unsigned)__builtin_ctz((special_bits(from) | 0x8000) >> (p - from));
}

/* The plain string that begins at `p`, or one space later. Its closing quote, or NULL; never the last byte. */
static inline const uint8_t *plain_string(const uint8_t *p, const uint8_t *last, beast_slice *value)
{
    if (__builtin_expect(*p != '"', 0) && (*p++ != ' ' || *p != '"'))
        return NULL;
    const uint8_t *close = special_from(++p, last);
    *value = (beast_slice){p, (uint32_t)(close - p)};
    return *close == '"' ? close : NULL;
}

/* False when it is empty or too long. */
static inline bool take_name(beast_name *name, beast_slice text, bool upper)
{
    if (text.len - 1 >= BEAST_ASSET_MAX)
        return false;
    name->raw = text;
    name->escaped = false;
    beast_name_fold_within(name, text.ptr, text.len, upper);
    return true;
}

static inline const uint8_t *plain_name(const uint8_t *p, const uint8_t *last, beast_name *name, bool upper)
{
    beast_slice text;
    const uint8_t *close = plain_string(p, last, &text);
    return close && take_name(name, text, upper) ? close : NULL;
}

static inline const uint8_t *plain_id(const uint8_t *p, const uint8_t *last, beast_slice *id)
{
    beast_slice text;
    const uint8_t *close = plain_string(p, last, &text);
    if (!close || text.len > BEAST_ID_MAX)
        return NULL;
    *id = (beast_slice){text.ptr - 1, text.len + 2};
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
    if (left > 6 && BEGINS(p, "\"id\":"))
        return req->id.ptr ? NULL : plain_id(p + 5, last, &req->id);
    return NULL;
}

/* Most clients write the key first and then the asset, without spaces. Returns the asset's closing quote, or NULL: then
 * anything may stand in `req`. */
static inline const uint8_t *usual_beginning(const uint8_t *buf, const uint8_t *last, beast_request *req)
{
    static const char key[] = "{\"api_key\":\"", asset[] = "\",\"asset\":\"";
    if (!BEGINS(buf, key))
        return NULL;
    const uint8_t *p = buf + sizeof key - 1, *close = special_from(p, last);
    if (last - close < (ptrdiff_t)sizeof asset || !BEGINS(close, asset))
        return NULL;
    req->api_key = (beast_slice){p, (uint32_t)(close - p)};
    p = close + sizeof asset - 1;
    close = special_from(p, last);
    req->n_assets = 1;
    return *close == '"' && take_name(&req->assets[0], (beast_slice){p, (uint32_t)(close - p)}, true) ? close : NULL;
}

/* And then perhaps an exchange, and an id. The closing quote of what comes last, or NULL. */
static inline const uint8_t *usual_end(const uint8_t *close, const uint8_t *last, beast_request *req)
{
    static const char exchange[] = "\",\"exchange\":\"", id[] = "\",\"id\":\"";
    const uint8_t *p;
    if (last - close >= (ptrdiff_t)sizeof exchange && BEGINS(close, exchange)) {
        p = close + sizeof exchange - 1;
        close = special_from(p, last);
        req->has_exchange = true;
        if (*close != '"' || !take_name(&req->exchange, (beast_slice){p, (uint32_t)(close - p)}, false))
            return NULL;
    }
    if (last - close >= (ptrdiff_t)sizeof id && BEGINS(close, id)) {
        p = close + sizeof id - 1;
        close = special_from(p, last);
        req->id = (beast_slice){p - 1, (uint32_t)(close - p) + 2};
        if (*close != '"' || req->id.len > BEAST_ID_MAX + 2)
            return NULL;
    }
    return close;
}

/* The members from `p` on. */
static bool read_members(const uint8_t *p, const uint8_t *last, beast_request *req)
{
    while ((p = plain_member(p, last, req)) != NULL) {
        if (p[1] != ',')
            return p + 1 == last && req->n_assets == 1;
        p += 2;
        if (__builtin_expect(*p == ' ', 0))
            p++;
    }
    return false;
}

bool beast_request_read_plain(const uint8_t *buf, size_t len, beast_request *req)
{
    const uint8_t *last = buf + len - 1, *close;
    if (len - SHORTEST > BEAST_DATAGRAM_MAX - SHORTEST || *last != '}')
        return false;
    beast_request_clear(req);
    if ((close = usual_beginning(buf, last, req)) != NULL && (close + 1 == last || (close = usual_end(close, last, req)) != NULL))
        return close + 1 == last || (close[1] == ',' && read_members(close + 2 + (close[2] == ' '), last, req));
    beast_request_clear(req);
    return *buf == '{' && read_members(buf + 1, last, req);
}
