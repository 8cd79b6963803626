#include "histogram.h"

/* Below 16 ns a bucket each; then the four bits behind the highest one tell the bucket within its power of two. */
static uint32_t bucket_of(int64_t ns)
{
    if (ns < 16)
        return ns > 0 ? (uint32_t)ns : 0;
    uint32_t power = 63 - (uint32_t)__builtin_clzll((uint64_t)ns);
    if (power >= BEAST_HISTOGRAM_BITS)
        return BEAST_HISTOGRAM_BUCKETS - 1;
    return (power - 3) * 16 + ((uint32_t)(ns >> (power - 4)) & 15);
}

void beast_histogram_add(beast_histogram *histogram, int64_t ns)
{
    _Atomic uint64_t *count = &histogram->count[bucket_of(ns)];
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + 1, memory_order_relaxed);
}

void beast_histogram_sum(const beast_histogram *histogram, uint64_t sum[BEAST_HISTOGRAM_BUCKETS])
{
    for (uint32_t i = 0; i < BEAST_HISTOGRAM_BUCKETS; i++)
        sum[i] += atomic_load_explicit(&histogram->count[i], memory_order_relaxed);
}

int64_t beast_histogram_bucket_ns(uint32_t bucket)
{
    if (bucket < 16)
        return bucket;
    uint32_t power = bucket / 16 + 3;
    return ((INT64_C(16) + bucket % 16 + 1) << (power - 4)) - 1;
}
