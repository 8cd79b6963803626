/* The counters: written once here, counted per thread, summed by whoever reads.
 * A block belongs to one thread, which adds with relaxed stores; nobody zeroes one. A reset is a base
 * line that the reader subtracts. */
#ifndef BEAST_COUNTERS_H
#define BEAST_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "sizes.h"

/* The 24 of the operator's dashboards. */
#define BEAST_PUBLIC_COUNTERS(X)                                                                  \
    X(tcp_requests)                                                                               \
    X(udp_requests)                                                                               \
    X(lrs_requests)                                                                               \
    X(syncmap_hits)                                                                               \
    X(elasticache_hits)                                                                           \
    X(cache_misses)                                                                               \
    X(udp_packets_received)                                                                       \
    X(udp_packets_dropped)                                                                        \
    X(udp_packets_sent)                                                                           \
    X(bg_work_submitted)                                                                          \
    X(bg_work_dropped)                                                                            \
    X(bg_work_completed)                                                                          \
    X(batch_rows_queued)                                                                          \
    X(db_open_conns)                                                                              \
    X(db_in_use_conns)                                                                            \
    X(db_wait_count)                                                                              \
    X(auth_rejected)                                                                              \
    X(rate_limited)                                                                               \
    X(quota_rejected)                                                                             \
    X(partner_requests)                                                                           \
    X(rest_fallbacks)                                                                             \
    X(ws_trades)                                                                                  \
    X(ws_reconnects)                                                                              \
    X(governor_delays)

/* What the accounting needs besides: udp_packets_received = udp_answered + udp_refused + udp_ignored
 * + udp_parked, counted by request; udp_send_errors are answers that the kernel would not take. */
#define BEAST_INNER_COUNTERS(X)                                                                   \
    X(udp_answered)      /* requests answered with at least one price */                          \
    X(udp_refused)       /* requests answered with an error */                                    \
    X(udp_ignored)       /* requests that got no answer: too short to be told, source over limit */ \
    X(udp_parked)        /* requests waiting in the miss ring for a slower tier */                \
    X(udp_send_errors)                                                                            \
    X(udp_kernel_drops)  /* SO_RXQ_OVFL; also inside udp_packets_dropped */                       \
    X(source_limited)    /* unproven requests over their source's limit */                        \
    X(source_dry_run)    /* the same, answered nevertheless: the limit is on trial */             \
    X(http_answered)                                                                              \
    X(http_refused)                                                                               \
    X(http_handed_over)  /* connections given to the ASGI side */                                 \
    X(http_accepted)                                                                              \
    X(http_closed)                                                                                \
    X(http_timed_out)                                                                             \
    X(http_overloaded)   /* connections refused because every slot is taken */                    \
    X(http_source_limited) /* connections refused because their source has too many */            \
    X(usage_records)                                                                              \
    X(usage_lost)        /* the ring was full: must never happen below the drainer's limit */     \
    X(usage_waits)       /* times that a worker waited for room in its ring */                     \
    X(usage_spool_full)  /* times that there was no room on the disk for usage */                  \
    X(usage_dead)        /* batches of usage that could not be booked, ever */                     \
    X(miss_overflows)                                                                             \
    X(tier2_skipped)     /* look-ups without tier 2: it was away, or too slow */                   \
    X(frames)            /* WebSocket frames read */                                              \
    X(frames_ignored)    /* frames without a trade, an ack, a heartbeat or an error */            \
    X(frames_errors)     /* frames in which an exchange refuses something */                      \
    X(frames_malformed)  /* frames that are no JSON, nor text a filter knows, or hold too much */ \
    X(trades_unmapped)   /* trades of symbols that no row maps */                                 \
    X(trades_outdated)   /* trades older than the one already held */                             \
    X(trades_bad_price)  /* null, empty, zero, negative, not a number, too long */                \
    X(trades_held)       /* not believed when they came; later each is one of these: */           \
    X(trades_confirmed)                                                                           \
    X(trades_dropped)                                                                             \
    X(streams_opened)                                                                             \
    X(streams_closed)    /* however they ended */                                                 \
    X(streams_refused)   /* there was no room for one more */                                     \
    X(streams_too_slow)  /* closed because the client read nothing for too long */                \
    X(stream_events)     /* sent to a client */                                                   \
    X(stream_missed)     /* events that a client never got, because a newer one overtook them */

#define BEAST_COUNTERS(X) BEAST_PUBLIC_COUNTERS(X) BEAST_INNER_COUNTERS(X)

typedef enum beast_counter {
#define X(name) BEAST_COUNTER_##name,
    BEAST_COUNTERS(X)
#undef X
        BEAST_COUNTER_COUNT
} beast_counter;

typedef struct beast_counters {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t value[BEAST_COUNTER_COUNT];
} beast_counters;

/* Owner thread only: a plain load and store, no locked instruction. */
static inline void beast_count(beast_counters *block, beast_counter which, uint64_t n)
{
    uint64_t now = atomic_load_explicit(&block->value[which], memory_order_relaxed);
    atomic_store_explicit(&block->value[which], now + n, memory_order_relaxed);
}

const char *beast_counter_name(beast_counter which);

/* Adds what `block` holds to `sum`; any thread. */
void beast_counters_add(const beast_counters *block, uint64_t sum[BEAST_COUNTER_COUNT]);

#endif
