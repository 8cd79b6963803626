/* A histogram of durations: 16 buckets to each power of two of ns, so that a bucket is at most 1/16 wide.
 * It belongs to one thread, which adds with relaxed stores; whoever reads sums. */
#ifndef BEAST_HISTOGRAM_H
#define BEAST_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "sizes.h"

#define BEAST_HISTOGRAM_BITS 36 /* up to 2^36 ns, more than a minute; longer ones count in the last bucket */
#define BEAST_HISTOGRAM_BUCKETS ((BEAST_HISTOGRAM_BITS - 3) * 16)

typedef struct beast_histogram {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t count[BEAST_HISTOGRAM_BUCKETS];
} beast_histogram;

/* Owner thread only. A negative duration (a clock was set back) counts as 0. */
void beast_histogram_add(beast_histogram *histogram, int64_t ns);
/* Adds what `histogram` holds to `sum`; any thread. */
void beast_histogram_sum(const beast_histogram *histogram, uint64_t sum[BEAST_HISTOGRAM_BUCKETS]);
/* The longest duration in ns that a bucket holds. */
int64_t beast_histogram_bucket_ns(uint32_t bucket);

#endif
