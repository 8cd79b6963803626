/* Pieces of HTTP/1.1 syntax (RFC 9110, RFC 9112, RFC 3986), each taken whole from a cursor or not at all. */
#ifndef BEAST_HTTP_SCAN_H
#define BEAST_HTTP_SCAN_H

#include <string.h>

#include "http_request.h"

typedef struct beast_http_cursor {
    const uint8_t *at;
    const uint8_t *end;
} beast_http_cursor;

typedef struct beast_http_word {
    const char *text;
    size_t len;
} beast_http_word;

#define BEAST_HTTP_WORD(text) {text, sizeof(text) - 1}

typedef enum beast_http_class {
    BEAST_HTTP_TOKEN = 1,     /* RFC 9110, 5.6.2 */
    BEAST_HTTP_QUERY = 2,     /* RFC 3986 query less what needs decoding or divides: % + & ; */
    BEAST_HTTP_AUTHORITY = 4, /* a Host that nobody could dispute: letters, digits, . - _ : [ ] */
    BEAST_HTTP_VISIBLE = 8,   /* visible ASCII */
} beast_http_class;

extern const uint8_t beast_http_classes[256];

static inline bool beast_http_is(uint8_t c, beast_http_class class)
{
    return beast_http_classes[c] & class;
}

/* Case-insensitive; `lower` holds letters and '-' only and `p` is a token, so that one bit is all the difference. */
static inline bool beast_http_same_word(const uint8_t *p, const char *lower, size_t len)
{
    uint8_t differ = 0;
    for (size_t i = 0; i < len; i++)
        differ |= (uint8_t)((p[i] | 0x20) ^ (uint8_t)lower[i]);
    return differ == 0;
}

/* HOT: `text` stood at the cursor and was taken. MORE: the input ends inside it. */
static inline beast_http_verdict beast_http_take(beast_http_cursor *in, const char *text)
{
    size_t want = strlen(text), left = (size_t)(in->end - in->at);
    if (left < want)
        return memcmp(in->at, text, left) == 0 ? BEAST_HTTP_MORE : BEAST_HTTP_OTHER;
    if (memcmp(in->at, text, want) != 0)
        return BEAST_HTTP_OTHER;
    in->at += want;
    return BEAST_HTTP_HOT;
}

/* One header field with its CRLF; the value without the white space around it. */
beast_http_verdict beast_http_take_field(beast_http_cursor *in, beast_slice *name, beast_slice *value);

#endif
