/* A lane is one thread's own share of the engine: its counters, rings and caches. Nobody else writes them.
 * What all lanes share is reached through `shared` and is either constant after start, or atomic, or a table
 * with its own rules (docs/threads.md). Every worker has a UDP lane and an HTTP lane; the main thread has one. */
#ifndef BEAST_LANE_H
#define BEAST_LANE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "grace.h"
#include "handover.h"
#include "histogram.h"
#include "key_table.h"
#include "miss_ring.h"
#include "price_table.h"
#include "source_limit.h"
#include "usage_ring.h"

/* What follows a slot's text in an answer, by state and tier: ,"age_ms":      ,"state":"live",…,"node":"BeastMain"}
 * and then spaces. A slot's text is at least 64 bytes long: both together reach up to the padding of section 2. */
#define BEAST_STATES 3
#define BEAST_TIERS 3
#define BEAST_REST_ROOM (BEAST_ANSWER_PAD - 64)
typedef struct beast_rest {
    _Alignas(BEAST_CACHE_LINE) uint8_t text[BEAST_REST_ROOM];
    uint32_t len;
} beast_rest;

void beast_rests_build(beast_rest rests[BEAST_STATES][BEAST_TIERS], const char *node);

typedef struct beast_shared {
    beast_price_table *prices;
    beast_key_table *keys;
    beast_source_limit *sources;
    beast_readers readers;
    _Atomic int64_t ttl_ns;        /* cache TTL: how long a trade is `live` */
    _Atomic int64_t linkless_ns;   /* how long it is so after its connection was last proven */
    _Atomic uint32_t park_misses;  /* slower tiers exist: park what memory can't answer */
    _Atomic int64_t park_ns;       /* how long a parked request may wait */
    _Atomic uint32_t draining;     /* stop was asked: answer what was received, then leave */
    int wake_fd;                   /* eventfd: the main thread has something to take */
    int usage_fd;                  /* eventfd: a usage ring has filled beyond its half */
    beast_rest rests[BEAST_STATES][BEAST_TIERS];
} beast_shared;

typedef struct beast_lane {
    beast_shared *shared;
    uint8_t number;   /* unique in the engine: UDP lanes first, then the HTTP lanes, the main thread's last */
    uint8_t protocol; /* beast_protocol */
    uint8_t asked_by; /* beast_protocol of what it answers now: the main thread's answers parked UDP requests, too */
    beast_key_cache *keys;
    beast_usage_ring *usage;
    beast_miss_ring *misses;          /* UDP lanes only, else NULL */
    beast_handover_ring *handovers;   /* HTTP lanes only, else NULL */
    bool waits;                       /* the main thread's, now and then: who asks will ask again, see beast_query_turn */
    beast_reader reader;
    beast_counters counters;
    beast_histogram latency; /* of a request, kernel to kernel; the main thread's: of a price, frame read to visible */
    beast_histogram parked;  /* the main thread's: of a UDP request that waited for a slower tier */
} beast_lane;

/* Parameters that change while serving; any thread. */
static inline beast_freshness beast_shared_freshness(const beast_shared *shared)
{
    return (beast_freshness){atomic_load_explicit(&shared->ttl_ns, memory_order_relaxed),
                             atomic_load_explicit(&shared->linkless_ns, memory_order_relaxed)};
}
void beast_shared_set_ttl(beast_shared *shared, int64_t ttl_ns);
void beast_shared_set_linkless(beast_shared *shared, int64_t linkless_ns);
void beast_shared_set_parking(beast_shared *shared, bool park_misses, int64_t park_ns);

#define BEAST_LANES_MAX 256 /* what `number` can tell apart */

typedef struct beast_lane_sizes {
    uint32_t usage_ring, miss_ring, handover_ring; /* powers of two */
    const char *usage_folder; /* of its usage ring's file; NULL: none */
    int64_t boot;
} beast_lane_sizes;

/* Makes a zeroed lane's rings and caches, those that its protocol needs. On NO_MEMORY, or SYSTEM with errno, the caller
 * closes it. */
beast_status beast_lane_open(beast_lane *lane, beast_shared *shared, uint8_t number, beast_protocol protocol,
                             const beast_lane_sizes *sizes);
void beast_lane_close(beast_lane *lane);

/* Between two rounds of a worker: see beast_usage_pace. */
void beast_lane_pace(beast_lane *lane);
/* The kernel has the answers of the lane's first `n` unsent usage records. */
void beast_lane_sent(beast_lane *lane, uint32_t n);
/* It will never have them: the records are no more, and their keys get back what the answers cost. */
void beast_lane_unsent(beast_lane *lane, uint32_t n);
/* The same for records kept elsewhere. */
void beast_lane_refund(beast_lane *lane, const beast_usage *records, uint32_t n);

#endif
