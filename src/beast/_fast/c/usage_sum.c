#include "usage_sum.h"

#include <stdbool.h>
#include <string.h>

/* Where a key's search begins in a table of `places`. */
static inline uint32_t place_of(uint64_t id, uint64_t salt, uint32_t places)
{
    uint64_t spread = (id + salt) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
    return (uint32_t)(spread * places >> 32);
}

/* In both, the output is an open-addressing table until all records are in: there is room for every key. */

uint32_t beast_usage_fold(const beast_usage *records, uint32_t n, uint64_t *key_ids, uint64_t *counts)
{
    memset(counts, 0, n * sizeof *counts);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = records[i].key_id;
        uint32_t at = place_of(id, 0, n);
        while (counts[at] != 0 && key_ids[at] != id)
            at = at + 1 < n ? at + 1 : 0;
        key_ids[at] = id;
        counts[at]++;
    }
    uint32_t pairs = 0;
    for (uint32_t at = 0; at < n; at++) {
        if (counts[at] == 0)
            continue;
        key_ids[pairs] = key_ids[at];
        counts[pairs++] = counts[at];
    }
    return pairs;
}

/* Rounded down, before 1970 too. */
static inline int64_t hour_of(int64_t time_ns)
{
    return time_ns / BEAST_HOUR_NS - (time_ns % BEAST_HOUR_NS < 0);
}

static inline bool is_other(const beast_usage_sum *sum, uint64_t id, int64_t hour)
{
    return sum->answers != 0 && (sum->key_id != id || sum->hour != hour);
}

uint32_t beast_usage_sum_up(const beast_usage *records, uint32_t n, beast_usage_sum *sums, uint32_t places)
{
    memset(sums, 0, places * sizeof *sums);
    for (uint32_t i = 0; i < n; i++) {
        const beast_usage *record = &records[i];
        int64_t hour = hour_of(record->time_ns);
        uint32_t at = place_of(record->key_id, (uint64_t)hour << 40, places);
        while (is_other(&sums[at], record->key_id, hour))
            at = at + 1 < places ? at + 1 : 0;
        beast_usage_sum *sum = &sums[at];
        if (sum->answers == 0)
            *sum = (beast_usage_sum){.key_id = record->key_id, .hour = hour, .last_ns = record->time_ns};
        sum->answers++;
        sum->last_ns = record->time_ns > sum->last_ns ? record->time_ns : sum->last_ns;
    }
    uint32_t count = 0;
    for (uint32_t at = 0; at < places; at++)
        if (sums[at].answers != 0)
            sums[count++] = sums[at];
    return count;
}
