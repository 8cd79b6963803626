/* What many usage records come to. Pure functions; they allocate nothing. */
#ifndef BEAST_USAGE_SUM_H
#define BEAST_USAGE_SUM_H

#include "usage_record.h"

#define BEAST_HOUR_NS INT64_C(3600000000000)

typedef struct beast_usage_sum {
    uint64_t key_id;
    int64_t hour; /* since 1970, UTC */
    uint64_t answers;
    int64_t last_ns; /* time_ns of the youngest of them */
} beast_usage_sum;

/* Adds up answers per key: writes (key_id, count) pairs to the two arrays, each `n` long; returns how many
 * pairs. The order of `records` is kept. */
uint32_t beast_usage_fold(const beast_usage *records, uint32_t n, uint64_t *key_ids, uint64_t *counts);

/* The same per key and hour, to `sums`, which has room for `places`, `n` or better twice as many; returns how many. */
uint32_t beast_usage_sum_up(const beast_usage *records, uint32_t n, beast_usage_sum *sums, uint32_t places);

#endif
