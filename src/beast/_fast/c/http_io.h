/* The HTTP lane: epoll over keep-alive connections of one SO_REUSEPORT listener. Answers hot requests, all
 * that one read brought into one buffer and one send; hands every other connection over. */
#ifndef BEAST_HTTP_IO_H
#define BEAST_HTTP_IO_H

#include "http_sources.h"
#include "lane.h"

typedef struct beast_http_config {
    uint32_t max_connections; /* slots are made at start; one more is closed and counted */
    int64_t head_ns;          /* a request must be whole this long after its first byte */
    int64_t idle_ns;          /* keep-alive: silence between requests */
    int64_t send_ns;          /* a client that doesn't read its answers */
    uint32_t latency_sample;  /* one of so many turns that answer is timed into the lane's histogram; 0: none */
    beast_http_sources *sources; /* shared by all lanes; NULL: connections are not counted by source */
} beast_http_config;

typedef struct beast_http beast_http;

/* `listen_fd` is bound, listening and non-blocking; it stays the caller's until beast_http_run returns, which
 * has closed it by then. */
beast_http *beast_http_new(beast_lane *lane, int listen_fd, const beast_http_config *config);
void beast_http_free(beast_http *http);

/* Runs until lane->shared->draining: then accepts what the kernel had already queued, closes the listener,
 * answers what was received (with Connection: close), and returns when the last connection is closed or
 * `deadline_ns` (CLOCK_MONOTONIC, set by the stopper before draining) has passed. */
void beast_http_run(beast_http *http, const _Atomic int64_t *deadline_ns);

#endif
