/* Every duration falls into the bucket whose edges hold it, and no bucket is wider than a sixteenth. */
#include "harness.h"
#include "histogram.h"

static beast_histogram histogram;

/* The one bucket that an empty histogram counts `ns` in. */
static uint32_t bucket_of(int64_t ns)
{
    uint64_t sum[BEAST_HISTOGRAM_BUCKETS] = {0};
    memset(&histogram, 0, sizeof histogram);
    beast_histogram_add(&histogram, ns);
    beast_histogram_sum(&histogram, sum);
    for (uint32_t i = 0; i < BEAST_HISTOGRAM_BUCKETS; i++)
        if (sum[i])
            return i;
    return UINT32_MAX;
}

static void edges_hold_what_is_counted(void)
{
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++) {
        int64_t ns = (int64_t)(harness_random(&random) >> (28 + i % 36));
        uint32_t bucket = bucket_of(ns);
        CHECK(ns <= beast_histogram_bucket_ns(bucket));
        CHECK(bucket == 0 || ns > beast_histogram_bucket_ns(bucket - 1));
    }
}

static void buckets_are_narrow_and_in_a_row(void)
{
    for (uint32_t i = 1; i < BEAST_HISTOGRAM_BUCKETS; i++) {
        int64_t lowest = beast_histogram_bucket_ns(i - 1) + 1, highest = beast_histogram_bucket_ns(i);
        CHECK_EQ(bucket_of(lowest), i);
        CHECK_EQ(bucket_of(highest), i);
        CHECK((highest - lowest + 1) * 16 <= lowest || i <= 16);
    }
}

static void the_odd_ones_are_counted_too(void)
{
    CHECK_EQ(bucket_of(-5), 0);
    CHECK_EQ(bucket_of(INT64_MIN), 0);
    CHECK_EQ(bucket_of(INT64_MAX), BEAST_HISTOGRAM_BUCKETS - 1);
}

int main(void)
{
    RUN(edges_hold_what_is_counted);
    RUN(buckets_are_narrow_and_in_a_row);
    RUN(the_odd_ones_are_counted_too);
    return harness_report();
}
