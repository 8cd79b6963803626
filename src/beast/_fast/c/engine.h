/* Sockets, lanes and threads of one server: start, drain, join. Workers enter C once and leave it at stop. */
#ifndef BEAST_ENGINE_H
#define BEAST_ENGINE_H

#include <sys/types.h>

#include "answer.h"
#include "http_io.h"
#include "udp_io.h"

/* Two lanes a worker and one for the main thread must be told apart by one byte. */
#define BEAST_ENGINE_WORKERS_MAX ((BEAST_LANES_MAX - 1) / 2)

#define BEAST_SPIN_MAX_NS 50000

typedef struct beast_engine_config {
    const char *node;          /* at most BEAST_NODE_MAX bytes, printable ASCII without quote and backslash */
    uint32_t workers;          /* 1..BEAST_ENGINE_WORKERS_MAX */
    const char *host;          /* numeric IPv4 or IPv6 address to bind */
    int udp_port, http_port;   /* 0: any; -1: don't serve this protocol */
    uint32_t udp_buffer;       /* bytes, 32 MB unless configured */
    uint32_t max_keys, max_instruments;
    uint32_t usage_ring, miss_ring;
    const char *usage_folder;  /* where the usage rings' files lie; NULL: none, a killed process leaves no records */
    int64_t boot;              /* CLOCK_REALTIME in ns: names this life of the server, in the files and elsewhere */
    uint32_t source_per_second;
    uint32_t http_connections_per_source; /* 0: no limit */
    int64_t ttl_ns;
    bool pin;                  /* worker i to processor i */
    int64_t spin_ns;           /* of UDP lanes, as in beast_batch; at most BEAST_SPIN_MAX_NS */
    uint32_t latency_sample;   /* of so many receives, or HTTP turns, one is timed into its lane's histogram; 0: none */
    beast_http_config http;
} beast_engine_config;

typedef struct beast_engine beast_engine;

/* NULL: out of memory, a value outside what is written above (errno: ENOMEM, EINVAL), or a usage ring's file that could
 * not be made (the system's errno). */
beast_engine *beast_engine_new(const beast_engine_config *config);
void beast_engine_free(beast_engine *engine); /* stopped engines only */

/* Binds all sockets (worker 0 chooses when the port is 0), then starts the threads; once in an engine's life. On
 * failure nothing runs, errno says why and *where names the protocol ("udp", "http", "thread"). */
beast_status beast_engine_start(beast_engine *engine, const char **where);
/* Drains: refuses new datagrams (a drop-all socket filter), answers those queued, closes listeners, joins; then
 * tells parked requests what memory knows. TIMED_OUT when a thread had not left by then: it is left running, the
 * engine must not be freed, and stop may be called again. Main thread only. */
beast_status beast_engine_stop(beast_engine *engine, int64_t timeout_ns);

int beast_engine_udp_port(const beast_engine *engine);
int beast_engine_http_port(const beast_engine *engine);
beast_udp_features beast_engine_udp_features(const beast_engine *engine); /* the least of all sockets */

beast_shared *beast_engine_shared(beast_engine *engine);
beast_http_sources *beast_engine_http_sources(beast_engine *engine);
bool beast_engine_running(const beast_engine *engine);
uint32_t beast_engine_lanes(const beast_engine *engine);      /* the last one is the main thread's */
beast_lane *beast_engine_lane(beast_engine *engine, uint32_t number);

/* One datagram through the very code of a UDP lane, without a socket: what it would send, datagram after
 * datagram, back to back in `out` with their lengths in `lens`; returns how many. Main thread only. */
uint32_t beast_engine_ask(beast_engine *engine, const uint8_t *datagram, size_t len, const struct sockaddr *peer,
                          const beast_moment *moment, uint8_t *out, size_t out_size, uint32_t *lens,
                          uint32_t max_lens);
/* How often a request of the ASGI side is asked: once; or first so that it may be `missed`, and, when it was, again
 * after the slower tiers were asked: its key was admitted the first time. */
typedef enum beast_query_turn { BEAST_QUERY_ONCE, BEAST_QUERY_FIRST, BEAST_QUERY_AGAIN } beast_query_turn;

/* One request of the ASGI side: the body, with the main thread's own lane. `peer` is who asks, or NULL. Its usage record,
 * if reply->recorded, is published at once, or goes to `bill` unless that is NULL. */
void beast_engine_query(beast_engine *engine, const beast_request *req, beast_query_turn turn,
                        const struct sockaddr *peer, const beast_moment *moment, uint8_t *out, beast_reply *reply,
                        beast_usage *bill);
/* The answer is on its way: publishes the record. `received_ns` (CLOCK_MONOTONIC) is when its request came. */
void beast_engine_pay(beast_engine *engine, const beast_usage *bill, int64_t received_ns);
/* The same at the very moment when it leaves: sends an answer, whole, by a stream. Returns how many bytes the kernel has
 * taken: all of them, and the record is published; fewer, none perhaps, and the bill is still open; -1: the client is gone. */
ssize_t beast_engine_deliver(beast_engine *engine, const beast_usage *bill, int64_t received_ns, int fd, uint8_t *bytes,
                             uint32_t len);
/* It never will be: gives back what it took from its key's allowance. */
void beast_engine_forgive(beast_engine *engine, const beast_usage *bill);
/* Asks a parked request again and sends the answer by its lane's socket. Main thread only. */
beast_status beast_engine_resume(beast_engine *engine, const beast_miss *miss, const beast_moment *moment);

#endif
