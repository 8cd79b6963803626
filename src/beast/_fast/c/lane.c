#include "lane.h"

beast_status beast_lane_open(beast_lane *lane, beast_shared *shared, uint8_t number, beast_protocol protocol,
                             const beast_lane_sizes *sizes)
{
    lane->shared = shared;
    lane->number = number;
    lane->protocol = (uint8_t)protocol;
    lane->keys = beast_key_cache_new();
    lane->usage = beast_usage_ring_new(sizes->usage_ring);
    if (!lane->keys || !lane->usage)
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

int64_t beast_shared_ttl(const beast_shared *shared)
{
    return atomic_load_explicit(&shared->ttl_ns, memory_order_relaxed);
}

void beast_shared_set_ttl(beast_shared *shared, int64_t ttl_ns)
{
    atomic_store_explicit(&shared->ttl_ns, ttl_ns, memory_order_relaxed);
}

void beast_shared_set_parking(beast_shared *shared, bool park_misses, int64_t park_ns)
{
    atomic_store_explicit(&shared->park_ns, park_ns, memory_order_relaxed);
    atomic_store_explicit(&shared->park_misses, park_misses, memory_order_relaxed);
}
