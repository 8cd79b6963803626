/* JSON as the walk over a frame reads it: each function takes where it stands and returns where it stands then, or
 * NULL when no JSON text has that there. The position stays in a register, which is most of the speed; everything
 * that isn't plain is left to json_scan.h. */
#ifndef BEAST_EXTRACT_SCAN_H
#define BEAST_EXTRACT_SCAN_H

#include <string.h>

#include "extract.h"
#include "json_scan.h"

#define BEAST_LIKELY(x) __builtin_expect(!!(x), 1)

static inline uint64_t beast_load(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* memcmp is a call; what is compared here has a few bytes. */
static inline bool beast_same_bytes(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    if (len < 8) {
        for (uint32_t i = 0; i < len; i++)
            if (a[i] != b[i])
                return false;
        return true;
    }
    uint64_t differ = beast_load(a + len - 8) ^ beast_load(b + len - 8);
    for (uint32_t i = 0; i + 8 < len; i += 8)
        differ |= beast_load(a + i) ^ beast_load(b + i);
    return differ == 0;
}

static inline const uint8_t *beast_scan_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p <= ' ' && beast_json_is_space(*p))
        p++;
    return p;
}

/* The byte at the next place that is no white space, or 0 at the end. */
static inline uint8_t beast_scan_peek(const uint8_t **p, const uint8_t *end)
{
    *p = beast_scan_space(*p, end);
    return BEAST_LIKELY(*p < end) ? **p : 0;
}

const uint8_t *beast_scan_rare_string(beast_json *json, const uint8_t *p, beast_json_text text, beast_value *value);

/* The string whose opening quote stands at `p`. */
static inline const uint8_t *beast_scan_string(beast_json *json, const uint8_t *p, beast_json_text text,
                                               beast_value *value)
{
    const uint8_t *start = p + 1, *quote = beast_json_plain(json, start);
    if (!BEAST_LIKELY(quote < json->end && *quote == '"'))
        return beast_scan_rare_string(json, p, text, value);
    *value = (beast_value){start, (uint32_t)(quote - start), BEAST_TOKEN_STRING, false};
    return quote + 1;
}

/* A member's name and its colon, up to the value. */
static inline const uint8_t *beast_scan_name(beast_json *json, const uint8_t *p, beast_value *name)
{
    if (beast_scan_peek(&p, json->end) != '"' || !(p = beast_scan_string(json, p, BEAST_JSON_TEXT, name)) ||
        beast_scan_peek(&p, json->end) != ':')
        return NULL;
    return beast_scan_space(p + 1, json->end);
}

static inline const uint8_t *beast_scan_digits(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
    if (BEAST_LIKELY(end - p >= 16)) {
        __m128i block = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8('0'));
        __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(9)), block);
        unsigned other = (unsigned)_mm_movemask_epi8(digit) ^ 0xFFFF;
        if (BEAST_LIKELY(other))
            return p + __builtin_ctz(other);
        p += 16;
    }
#endif
    while (p < end && beast_json_is_digit(*p))
        p++;
    return p;
}

/* A number without its exponent: digits, and perhaps a point with digits behind it. */
static inline const uint8_t *beast_scan_decimal(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *digits = p;
    p = beast_scan_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return NULL;
    if (p == end || *p != '.')
        return p;
    digits = p + 1;
    p = beast_scan_digits(digits, end);
    return p == digits ? NULL : p;
}

/* An exponent, if one stands at `p`. */
const uint8_t *beast_scan_exponent(const uint8_t *p, const uint8_t *end);
const uint8_t *beast_scan_literal(const uint8_t *p, const uint8_t *end, const char *word, uint32_t len);

/* A value that is no container, at `p`. */
static inline const uint8_t *beast_scan_scalar(beast_json *json, const uint8_t *p, beast_value *value)
{
    const uint8_t *start = p, *end = json->end;
    uint8_t c = BEAST_LIKELY(p < end) ? *p : 0;
    if (c == '"')
        return beast_scan_string(json, p, BEAST_JSON_GRAMMAR_ONLY, value);
    if (BEAST_LIKELY(c == '-' || beast_json_is_digit(c))) {
        p = beast_scan_decimal(p + (c == '-'), end);
        if (p && p < end && (*p | 0x20) == 'e')
            p = beast_scan_exponent(p, end);
    } else if (c == 't' || c == 'f') {
        p = c == 't' ? beast_scan_literal(p, end, "true", 4) : beast_scan_literal(p, end, "false", 5);
    } else {
        *value = (beast_value){start, 4, BEAST_TOKEN_NULL, false};
        return beast_scan_literal(p, end, "null", 4);
    }
    *value = (beast_value){start, (uint32_t)(p - start), BEAST_TOKEN_BARE, false};
    return p;
}

/* Moves over any value without recursion. `depth` counts the containers around it. */
const uint8_t *beast_scan_skip(beast_json *json, const uint8_t *p, uint32_t depth);

#endif
