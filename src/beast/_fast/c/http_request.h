/* Recognises hot HTTP requests. It does not parse HTTP: what is not plainly hot is somebody else's. */
#ifndef BEAST_HTTP_REQUEST_H
#define BEAST_HTTP_REQUEST_H

#include "request.h"

typedef enum beast_http_verdict {
    BEAST_HTTP_HOT,   /* one whole hot request: answer it here */
    BEAST_HTTP_MORE,  /* a true prefix of what may become a hot request: read on */
    BEAST_HTTP_OTHER, /* anything else: hand the socket and all unread bytes to the ASGI side */
} beast_http_verdict;

typedef struct beast_http_request {
    beast_request price; /* .many for /prices; .fault may be set by a bad value of a known parameter */
    uint32_t consumed;   /* bytes of this request, when HOT */
    bool close;          /* the client sent Connection: close */
} beast_http_request;

/* Hot is: GET, exactly /price or /prices, HTTP/1.1, a query of known parameters each at most once and
 * without '%' or '+', exactly one Host, at most one key header (Authorization: Bearer or X-API-Key), no
 * Content-Length, Transfer-Encoding, Upgrade, Expect, Connection other than keep-alive or close, no folded
 * or nameless header, CRLF line ends, and a head of at most BEAST_HTTP_HEAD_MAX bytes.
 * Parameters: asset (/price) or assets (/prices, comma-joined), exchange, max_age_ms, allow_stale.
 * Pure, allocates nothing, never reads outside buf[0..len). */
beast_http_verdict beast_http_recognise(const uint8_t *buf, size_t len, beast_http_request *out);

#endif
