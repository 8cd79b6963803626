/* The other side of the wire: a load client for UDP and HTTP. One thread, one core.
 *
 * Closed loop: a fixed number of requests is kept in flight. Open loop: requests leave by the clock, whatever the
 * server does, and a latency counts from the moment its request was due, so that a server that stalls can't hide it.
 * Every answer is checked; what was lost, wrong and refused is counted apart. Times are ns of CLOCK_MONOTONIC. */
#ifndef BEAST_LOAD_CLIENT_H
#define BEAST_LOAD_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "request.h"
#include "sockets.h"

#define BEAST_LOAD_BUCKETS 976 /* log-linear: 16 to each power of two of ns */
#define BEAST_LOAD_WINDOW_MAX 64
#define BEAST_LOAD_SAMPLE 256

/* Why an answer is wrong: name and what is told. */
#define BEAST_LOAD_FAULTS(X)                                              \
    X(NONE, "right")                                                      \
    X(STRAY, "answers no request in flight: twice, too late or another's") \
    X(MALFORMED, "not in the protocol's form")                            \
    X(ASSET, "another asset than asked")                                  \
    X(EXCHANGE, "another exchange than asked")                            \
    X(AGE, "older than the limit")                                        \
    X(STALE, "a stale price")

typedef enum beast_load_fault {
#define X(name, message) BEAST_LOAD_FAULT_##name,
    BEAST_LOAD_FAULTS(X)
#undef X
        BEAST_LOAD_FAULT_COUNT
} beast_load_fault;

typedef enum beast_load_check {
    BEAST_LOAD_CHECK_NONE, /* count only: for peers that don't speak the protocol; no id is sent */
    BEAST_LOAD_CHECK_ID,   /* UDP: the id of a request in flight, once; HTTP: the status */
    BEAST_LOAD_CHECK_ALL,  /* besides: member by member, as docs/protocol.md orders them */
} beast_load_check;

typedef enum beast_load_protocol {
    BEAST_LOAD_UDP,
    BEAST_LOAD_UDP_SEGMENT, /* a socket's requests leave as one UDP_SEGMENT send, answers may arrive merged */
    BEAST_LOAD_HTTP,
    BEAST_LOAD_PROTOCOLS
} beast_load_protocol;

typedef struct beast_load_config {
    beast_address peer;
    beast_load_protocol protocol;
    beast_load_check check;
    uint32_t sockets;        /* each a client of its own: a port or a connection */
    uint32_t in_flight;      /* closed loop: requests over all sockets, at most WINDOW_MAX for each */
    uint32_t rate;           /* a second; 0: closed loop */
    uint32_t burst;          /* open loop: requests that leave one socket together, 1 to WINDOW_MAX */
    uint32_t nap_us;         /* open loop: sleeps so long, or until an answer comes, rather than poll for what is due
                              * next; 0: polls. For clients that share a processor */
    bool interleaved;        /* closed loop, UDP: one request a socket in turn, not a socket's window at once */
    int64_t duration_ns;
    int64_t timeout_ns;      /* what has no answer for this long is lost */
    int64_t max_age_ms;      /* -1: any */
    const beast_slice *keys, *assets; /* drawn from for every request; printable ASCII that needs no escape */
    uint32_t n_keys, n_assets;
    beast_slice exchange;    /* ptr NULL: any */
} beast_load_config;

/* Written by the client's thread alone, read by any. sent = answered + refused + lost + wrong - stray + in flight. */
typedef struct beast_load_report {
    _Atomic uint64_t sent, answered, lost, reconnects;
    _Atomic uint64_t unsent;      /* open loop: due, but the client or its sockets were too slow */
    _Atomic uint64_t wrong[BEAST_LOAD_FAULT_COUNT];
    _Atomic uint64_t refused[BEAST_RESULT_COUNT];
    _Atomic int64_t elapsed_ns, worst_ns;
    _Atomic uint64_t latency[BEAST_LOAD_BUCKETS]; /* of what was answered */
    _Atomic uint32_t sample_len;  /* not 0: the sample is there */
    uint8_t sample[BEAST_LOAD_SAMPLE]; /* the start of the first wrong answer */
} beast_load_report;

/* Runs until the time is over or *stop is set, then waits for what is in flight. The report must be zero.
 * BAD_ARGUMENT: the configuration makes no sense; SYSTEM: sockets could not be had, or nobody listens. */
beast_status beast_load_run(const beast_load_config *config, const atomic_bool *stop, beast_load_report *report);

/* Whether this kernel has UDP_SEGMENT and UDP_GRO. */
bool beast_load_can_segment(void);

/* Lower bound in ns of a latency bucket, and the bucket of a latency. */
uint64_t beast_load_bucket_ns(uint32_t bucket);
uint32_t beast_load_bucket(uint64_t ns);

const char *beast_load_fault_name(beast_load_fault fault);
const char *beast_load_fault_message(beast_load_fault fault);

/* What one answer has to be. */
typedef struct beast_load_expected {
    beast_slice asset, exchange; /* exchange.ptr NULL: any */
    int64_t max_age_ms;          /* -1: any */
    bool udp;                    /* ends with an id and padding */
} beast_load_expected;

typedef struct beast_load_answer {
    beast_load_fault fault;
    beast_result result; /* ANSWERED, or why it was refused */
} beast_load_answer;

/* Reads an answer of sections 2 and 5 of docs/protocol.md. */
beast_load_answer beast_load_read(const beast_load_expected *expected, const uint8_t *text, size_t len);

#endif
