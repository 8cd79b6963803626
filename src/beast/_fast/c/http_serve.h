/* What one HTTP lane does with the bytes of one connection: answer, keep, hand over or close. */
#ifndef BEAST_HTTP_SERVE_H
#define BEAST_HTTP_SERVE_H

#include "http_conn.h"
#include "http_reply.h"

struct beast_http {
    beast_lane *lane;
    int listen_fd, epoll_fd;
    int64_t accept_again_ns; /* CLOCK_MONOTONIC: descriptors ran out, the listener is left alone until then; or 0 */
    bool draining;
    beast_moment moment; /* of this round: epoll has just told whose bytes are there */
    uint32_t sample_every, answered; /* of so many turns that answer one is timed; how many did since the last one */
    beast_http_pool pool;
    beast_http_heads heads;
    beast_http_request request;
    uint8_t scratch[BEAST_HTTP_HEAD_MAX];
    uint8_t in[BEAST_HTTP_READ];
    uint8_t out[BEAST_HTTP_WRITE];
};

/* Reads once and answers every whole request that is there. `ending`: the client won't send any more. */
void beast_http_serve(beast_http *http, beast_http_conn *conn, bool ending);

/* Sends what a slow reader left; once all is sent, goes on where it had stopped. */
void beast_http_resume(beast_http *http, beast_http_conn *conn);

#endif
