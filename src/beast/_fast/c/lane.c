#include "lane.h"

#include <errno.h>

#include "clock.h"

beast_status beast_lane_open(beast_lane *lane, beast_shared *shared, uint8_t number, beast_protocol protocol,
                             const beast_lane_sizes *sizes)
{
    lane->shared = shared;
    lane->number = number;
    lane->protocol = lane->asked_by = (uint8_t)protocol;
    lane->usage = beast_usage_ring_open(sizes->usage_folder, sizes->boot, number, sizes->usage_ring);
    if (!lane->usage)
        return errno == ENOMEM ? BEAST_NO_MEMORY : BEAST_SYSTEM;
    lane->keys = beast_key_cache_new();
    if (!lane->keys)
        return BEAST_NO_MEMORY;
    if (protocol == BEAST_PROTOCOL_UDP && !(lane->misses = beast_miss_ring_new(sizes->miss_ring)))
        return BEAST_NO_MEMORY;
    if (protocol == BEAST_PROTOCOL_HTTP && !(lane->handovers = beast_handover_ring_new(sizes->handover_ring)))
        return BEAST_NO_MEMORY;
    return BEAST_OK;
}

void beast_lane_close(beast_lane *lane)
{
    beast_handover_ring_free(lane->handovers);
    beast_miss_ring_free(lane->misses);
    beast_usage_ring_free(lane->usage);
    beast_key_cache_free(lane->keys);
}

void beast_lane_pace(beast_lane *lane)
{
    if (beast_usage_pace(lane->usage, BEAST_USAGE_PATIENCE_NS))
        beast_count(&lane->counters, BEAST_COUNTER_usage_waits, 1);
}

void beast_lane_sent(beast_lane *lane, uint32_t n)
{
    if (n == 0) {
        beast_usage_sending(lane->usage, 0);
        return;
    }
    beast_usage_sent(lane->usage, n, beast_clock_ns(CLOCK_MONOTONIC));
    beast_count(&lane->counters, BEAST_COUNTER_usage_records, n);
}

void beast_lane_refund(beast_lane *lane, const beast_usage *records, uint32_t n)
{
    /* A lane finds out inside a batch, or behind it. */
    bool inside = atomic_load_explicit(&lane->reader.count, memory_order_relaxed) & 1;

    if (!inside)
        beast_reader_enter(&lane->reader);
    for (uint32_t i = 0; i < n; i++) {
        beast_key *key = beast_key_by_number(lane->shared->keys, records[i].key_number);
        if (key && atomic_load_explicit(&key->id, memory_order_relaxed) == records[i].key_id)
            beast_key_refund(key);
    }
    if (!inside)
        beast_reader_leave(&lane->reader);
}

void beast_lane_unsent(beast_lane *lane, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        beast_lane_refund(lane, beast_usage_at(lane->usage, i), 1);
    beast_usage_drop(lane->usage, n);
}

void beast_shared_set_ttl(beast_shared *shared, int64_t ttl_ns)
{
    atomic_store_explicit(&shared->ttl_ns, ttl_ns, memory_order_relaxed);
}

void beast_shared_set_linkless(beast_shared *shared, int64_t linkless_ns)
{
    atomic_store_explicit(&shared->linkless_ns, linkless_ns, memory_order_relaxed);
}

void beast_shared_set_parking(beast_shared *shared, bool park_misses, int64_t park_ns)
{
    atomic_store_explicit(&shared->park_ns, park_ns, memory_order_relaxed);
    atomic_store_explicit(&shared->park_misses, park_misses, memory_order_relaxed);
}
