#include <string.h>

#include "json_scan.h"
#include "name_fold.h"

/* The first n <= 8 bytes as a word, zero-padded, without reading beyond them: two loads that overlap. */
static uint64_t load_bytes(const uint8_t *p, uint32_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;
    if (n >= 8) {
        memcpy(&word, p, 8);
        return word;
    }
    if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        return low | (uint64_t)high << 8 * (n - 4);
    }
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << 8 * (n / 2) | (uint64_t)p[n - 1] << 8 * (n - 1);
#else
    uint64_t word = 0;
    memcpy(&word, p, n < 8 ? n : 8);
    return word;
#endif
}

void beast_name_fold(beast_name *name, const uint8_t *text, uint32_t len, bool upper)
{
    uint8_t first = upper ? 'a' : 'A';
    name->len = len;
    name->word[0] = name->word[1] = name->word[2] = 0;
    if (len > BEAST_ASSET_MAX)
        return;
    name->word[0] = beast_flip_case(load_bytes(text, len), first);
    if (len > 8)
        name->word[1] = beast_flip_case(load_bytes(text + 8, len - 8), first);
    if (len > 16)
        name->word[2] = beast_flip_case(load_bytes(text + 16, len - 16), first);
}

/* A name too long for its words: raised in the scratch memory, where later ones find it. */
static void raise_long(uint8_t *out, const uint8_t *text, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        out[i] = text[i] >= 'a' && text[i] <= 'z' ? (uint8_t)(text[i] - 32) : text[i];
}

static bool same_name(const beast_request *req, const uint8_t *input, const beast_name *a, const beast_name *b)
{
    if (a->len != b->len)
        return false;
    if (a->len > BEAST_ASSET_MAX)
        return memcmp(req->scratch + (a->raw.ptr - input), req->scratch + (b->raw.ptr - input), a->len) == 0;
    return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2];
}

void beast_request_add_asset(beast_request *req, const uint8_t *input, beast_slice raw, bool escaped)
{
    beast_name *name = &req->assets[req->n_assets];
    const uint8_t *text = raw.ptr;
    uint32_t len = raw.len;
    name->raw = raw;
    name->escaped = escaped;
    if (escaped || len > BEAST_ASSET_MAX) {
        uint8_t *place = req->scratch + (raw.ptr - input);
        if (escaped) {
            len = beast_json_decode(raw.ptr, raw.len, place, raw.len);
            text = place;
        }
        if (len > BEAST_ASSET_MAX)
            raise_long(place, text, len);
    }
    beast_name_fold(name, text, len, true);
    for (uint32_t i = 0; i < req->n_assets; i++)
        if (same_name(req, input, &req->assets[i], name))
            return;
    req->n_assets++;
}
