/* Settling what keys owe with the other nodes: which keys were touched, what each has to tell, and what it hears.
 * docs/limits.md holds the scheme and its proof. Writer only, but for the lists that lanes add to. */
#ifndef BEAST_KEY_SETTLE_H
#define BEAST_KEY_SETTLE_H

#include "key_table.h"

/* One key's account, in the writer's hands until it is settled. */
typedef struct beast_key_dues {
    uint32_t number;     /* of the record */
    uint32_t admitted;   /* admissions not yet settled */
    uint64_t quota_id;
    int64_t interval_ns; /* 0: no rate limit */
    int64_t answered;    /* answers that its cap's counter was not told of; -1: it has no cap */
    int64_t floor;       /* what that counter holds at least, without them; -1: it has been told */
    uint32_t month;      /* of that counter */
} beast_key_dues;

/* Up to `max` keys that this lane has touched; `cache` NULL: the writer itself. */
uint32_t beast_keys_collect(beast_key_table *table, beast_key_cache *cache, beast_key_dues *out, uint32_t max);
/* What the cluster says at `now_ns`: how far its theoretical arrival time is ahead of now, and how many answers the month
 * has seen, these included; -1: nothing was asked or told. */
void beast_key_settle(beast_key_table *table, const beast_key_dues *dues, int64_t now_ns, int64_t ahead_ns,
                      int64_t used);
#endif
