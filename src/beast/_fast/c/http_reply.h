/* One whole HTTP answer: the head around what beast_answer_body writes. */
#ifndef BEAST_HTTP_REPLY_H
#define BEAST_HTTP_REPLY_H

#include "answer.h"
#include "http_request.h"
#include "limit_text.h"

#define BEAST_HTTP_HEADERS_MAX (512 + BEAST_LIMIT_LINES_MAX)
/* Room that the answer to one request may need. */
#define BEAST_HTTP_ANSWER_MAX (BEAST_BODY_MAX + BEAST_HTTP_HEADERS_MAX)

/* The text that only changes once a second, and the head of nearly every answer made of it: 200, kept alive, a
 * Content-Length of three digits. */
typedef struct beast_http_heads {
    int64_t second; /* of CLOCK_REALTIME; 0: nothing is written yet */
    uint32_t usual_len, length_at;
    beast_month month;
    char date[32]; /* IMF-fixdate (RFC 9110, 5.6.7) */
    char usual[BEAST_HTTP_HEADERS_MAX];
} beast_http_heads;

void beast_http_heads_refresh(beast_http_heads *heads, int64_t wall_ns);

/* Answers `req`, which came by `fd`, into `out` and returns the length of head and body, or 0 when reply->missed. Counts
 * it, unless missed: then somebody else answers. */
uint32_t beast_http_answer(const beast_http_heads *heads, beast_lane *lane, const beast_request *req, int fd, bool close,
                           const beast_moment *moment, uint8_t *out, beast_reply *reply);

/* 503 without asking anybody: a bounded queue was full. */
uint32_t beast_http_unavailable(const beast_http_heads *heads, beast_lane *lane, const beast_request *req, bool close,
                                uint8_t *out);

#endif
