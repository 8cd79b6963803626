/* Reads JSON text (RFC 8259) byte by byte, without copying it and without a tree: one cursor that moves over a
 * value and says where it stood. A fault ends the reading at the leftmost byte that no JSON text could have there.
 * Whether the bytes are UTF-8 is another question, asked of the whole input by beast_utf8_valid. */
#ifndef BEAST_JSON_SCAN_H
#define BEAST_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "sizes.h"
#include "status.h"

typedef struct beast_json {
    const uint8_t *begin; /* of what may be read */
    const uint8_t *at;
    const uint8_t *end;
    beast_fault fault; /* why a function returned false */
    bool wide;         /* a string held bytes beyond ASCII, not looked at any further */
} beast_json;

/* What stood between the quotes of a string, or a number's characters. */
typedef struct beast_json_token {
    const uint8_t *ptr;
    uint32_t len;
    bool escaped; /* a string with a backslash in it */
    bool integer; /* a number without fraction and exponent */
} beast_json_token;

/* Lone surrogate escapes are grammatical JSON, but no text. */
typedef enum beast_json_text { BEAST_JSON_TEXT, BEAST_JSON_GRAMMAR_ONLY } beast_json_text;

static inline bool beast_json_is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool beast_json_is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}

static inline bool beast_json_unexpected(beast_json *json)
{
    json->fault = BEAST_FAULT_SYNTAX;
    return false;
}

static inline void beast_json_skip_space(beast_json *json)
{
    while (json->at < json->end && *json->at <= ' ' && beast_json_is_space(*json->at))
        json->at++;
}

/* The next byte that is no white space, not yet taken; 0 at the end, which no JSON text may hold. */
static inline uint8_t beast_json_peek(beast_json *json)
{
    beast_json_skip_space(json);
    return json->at < json->end ? *json->at : 0;
}

/* Takes `c`, with the white space before it. */
static inline bool beast_json_take(beast_json *json, uint8_t c)
{
    beast_json_skip_space(json);
    if (json->at >= json->end || *json->at != c)
        return beast_json_unexpected(json);
    json->at++;
    return true;
}

#if defined(__SSE2__)
/* One bit for each of 16 bytes that isn't plain inside a string. */
static inline unsigned beast_json_special(const uint8_t *p)
{
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    /* Signed: bytes beyond ASCII are less than a space, as control characters are. */
    __m128i outside = _mm_cmplt_epi8(block, _mm_set1_epi8(' '));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), outside));
}
#endif

/* The first byte from `p` on that isn't plain inside a string: quote, backslash, control, or beyond ASCII. */
static inline const uint8_t *beast_json_plain(const beast_json *json, const uint8_t *p)
{
    const uint8_t *end = json->end;
#if defined(__SSE2__)
    for (; end - p >= 16; p += 16) {
        unsigned special = beast_json_special(p);
        if (special)
            return p + __builtin_ctz(special);
    }
    if (end - json->begin >= 16) { /* the last 16 bytes hold the rest */
        unsigned special = beast_json_special(end - 16) >> (16 - (end - p));
        return special ? p + __builtin_ctz(special) : end;
    }
#endif
    while (p < end && *p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The value of four hexadecimal digits, or -1. */
static inline int32_t beast_json_hex4(const uint8_t *p, const uint8_t *end)
{
    int32_t value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t letter = (uint8_t)((p[i] | 0x20) - 'a');
        if (beast_json_is_digit(p[i]))
            value = value << 4 | (p[i] - '0');
        else if (letter < 6)
            value = value << 4 | (letter + 10);
        else
            return -1;
    }
    return value;
}

/* Moves over one escape, or over the two that make one character. json->at stands on the backslash. */
static inline bool beast_json_escape(beast_json *json, beast_json_text text)
{
    const uint8_t *p = json->at + 1;
    if (p >= json->end)
        return beast_json_unexpected(json);
    if (*p != 'u') {
        json->at = p + 1;
        return memchr("\"\\/bfnrt", *p, 8) || beast_json_unexpected(json);
    }
    int32_t unit = beast_json_hex4(p + 1, json->end), low = 0;
    if (unit < 0)
        return beast_json_unexpected(json);
    json->at = p += 5;
    if (unit < 0xD800 || unit > 0xDFFF)
        return true;
    if (unit <= 0xDBFF && json->end - p >= 2 && p[0] == '\\' && p[1] == 'u')
        low = beast_json_hex4(p + 2, json->end);
    if (low >= 0xDC00 && low <= 0xDFFF) {
        json->at = p + 6;
        return true;
    }
    json->fault = BEAST_FAULT_UTF8;
    return text == BEAST_JSON_GRAMMAR_ONLY;
}

/* The string whose opening quote stands at json->at. */
static inline bool beast_json_string(beast_json *json, beast_json_text text, beast_json_token *token)
{
    const uint8_t *start = json->at + 1, *p = beast_json_plain(json, start);
    token->ptr = start;
    token->escaped = false;
    while (p >= json->end || *p != '"') {
        if (p >= json->end || *p < ' ')
            return beast_json_unexpected(json);
        json->at = p;
        if (*p == '\\') {
            token->escaped = true;
            if (!beast_json_escape(json, text))
                return false;
        } else {
            json->wide = true;
            json->at++;
        }
        p = beast_json_plain(json, json->at);
    }
    token->len = (uint32_t)(p - start);
    json->at = p + 1;
    return true;
}

/* Decodes a token that was read as TEXT; writes at most `room` bytes and returns how many the whole text has. */
uint32_t beast_json_decode(const uint8_t *raw, uint32_t len, uint8_t *out, uint32_t room);

/* A number. */
bool beast_json_number(beast_json *json, beast_json_token *token);

/* true, false or null, whole. */
bool beast_json_literal(beast_json *json, const char *word);

/* Moves over any value. `depth` is the nesting of what holds it: 1 inside the outer object. */
bool beast_json_skip(beast_json *json, beast_json_text text, uint32_t depth);

/* Every byte belongs to a well-formed sequence (Unicode 15, table 3-7). */
bool beast_utf8_valid(const uint8_t *text, size_t len);

#endif
