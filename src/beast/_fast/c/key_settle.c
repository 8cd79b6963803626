#include "key_settle.h"

#include "key_table_inner.h"

/* What is given back must not make an allowance look like none. */
#define GRANT_MAX (BEAST_NO_CAP - (int64_t)BEAST_LEASE_MAX)

static int64_t rounded_up(int64_t value, uint32_t parts) { return (value + parts - 1) / parts; }

void beast_key_terms_set(beast_key_terms *terms, bool leasing, uint32_t share, uint32_t nodes, bool cluster,
                         int64_t retry_ns)
{
    atomic_store_explicit(&terms->retry_ns, retry_ns, memory_order_relaxed);
    atomic_store_explicit(&terms->share, share, memory_order_relaxed);
    atomic_store_explicit(&terms->nodes, nodes, memory_order_relaxed);
    atomic_store_explicit(&terms->cluster, cluster, memory_order_relaxed);
    atomic_store_explicit(&terms->leasing, leasing, memory_order_relaxed);
}

bool beast_key_grant(const beast_key_table *table, beast_key *key, uint32_t settled, int64_t told)
{
    const beast_key_terms *terms = &table->terms;
    uint32_t lease = atomic_load_explicit(&terms->leasing, memory_order_relaxed)
                         ? atomic_load_explicit(&key->lease, memory_order_relaxed)
                         : 0;
    int64_t cap = atomic_load_explicit(&key->cap, memory_order_relaxed);
    int64_t left = cap - atomic_load_explicit(&key->seen, memory_order_relaxed);
    int64_t given = atomic_load_explicit(&key->given, memory_order_relaxed), granted, untold, fresh;
    uint32_t flags = atomic_load_explicit(&key->flags, memory_order_relaxed), unsettled;
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed);
    bool touched;

    left = left > 0 ? left : 0;
    granted = rounded_up(left, atomic_load_explicit(lease ? &terms->nodes : &terms->share, memory_order_relaxed));
    if (granted > (lease ? lease : GRANT_MAX))
        granted = lease ? lease : GRANT_MAX;
    flags = cap < BEAST_NO_CAP && granted < left ? flags | BEAST_KEY_PARTIAL : flags & ~BEAST_KEY_PARTIAL;
    atomic_store_explicit(&key->flags, flags, memory_order_relaxed);
    do {
        int64_t allowance = beast_allowance_of(balance);
        unsettled = beast_unsettled_of(balance) - settled;
        untold = allowance == BEAST_NO_CAP ? 0 : given - allowance - told;
        fresh = granted - (lease && untold > 0 ? untold : 0);
        fresh = fresh > 0 ? fresh : 0;
        /* Without an allowance nothing is admitted, and without an admission nothing is settled: what is still to be told
         * must not wait for either. */
        touched = lease && cap < BEAST_NO_CAP && fresh == 0 && left > 0 && unsettled == 0;
        /* Its place in a list has been read, if none are left: release. */
    } while (!atomic_compare_exchange_weak_explicit(
        &key->balance, &balance,
        (uint64_t)(cap < BEAST_NO_CAP ? fresh : BEAST_NO_CAP) << BEAST_UNSETTLED_BITS | (unsettled + touched),
        memory_order_acq_rel, memory_order_relaxed));
    atomic_store_explicit(&key->given, cap < BEAST_NO_CAP ? fresh + untold : 0, memory_order_relaxed);
    return touched || (settled > 0 && unsettled > 0);
}

/* A key that was dropped, or has nothing to settle any more, leaves the list as if it were settled. */
static void let_go(beast_key *key)
{
    atomic_fetch_and_explicit(&key->balance, ~(uint64_t)BEAST_LEASE_MAX, memory_order_acq_rel);
}

static bool has_dues(const beast_key *key)
{
    return atomic_load_explicit(&key->live, memory_order_relaxed) &&
           atomic_load_explicit(&key->lease, memory_order_relaxed) &&
           !(atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER);
}

static void look_at(beast_key *key, uint32_t number, beast_key_dues *out)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed);
    int64_t untold = atomic_load_explicit(&key->given, memory_order_relaxed) - beast_allowance_of(balance);
    bool capped = atomic_load_explicit(&key->cap, memory_order_relaxed) < BEAST_NO_CAP;
    uint32_t flags = atomic_load_explicit(&key->flags, memory_order_relaxed);

    *out = (beast_key_dues){
        .number = number,
        .admitted = beast_unsettled_of(balance),
        .quota_id = atomic_load_explicit(&key->quota_id, memory_order_relaxed),
        .interval_ns = atomic_load_explicit(&key->interval_ns, memory_order_relaxed),
        /* What was given back after it was told makes it less than none: it is told with later ones. */
        .answered = !capped ? -1 : untold > 0 ? untold : 0,
        .floor = flags & BEAST_KEY_FLOOR ? atomic_load_explicit(&key->seen, memory_order_relaxed) : -1,
        .month = flags >> BEAST_KEY_MONTH_AT,
    };
    atomic_store_explicit(&key->flags, flags & ~BEAST_KEY_FLOOR, memory_order_relaxed);
}

uint32_t beast_keys_collect(beast_key_table *table, beast_key_cache *cache, beast_key_dues *out, uint32_t max)
{
    beast_key_list *list = cache ? beast_key_list_of(cache) : &table->own;
    uint32_t n = 0;

    while (n < max) {
        if (list->taken == 0)
            list->taken = atomic_exchange_explicit(&list->first, 0, memory_order_acquire);
        if (list->taken == 0)
            break;
        uint32_t number = list->taken - 1;
        beast_key *key = &table->records[number];
        list->taken = atomic_load_explicit(&key->touched, memory_order_relaxed);
        if (has_dues(key))
            look_at(key, number, &out[n++]);
        else
            let_go(key);
    }
    return n;
}

/* No request is admitted before the cluster's theoretical arrival time, and those it doesn't know of, let it. */
static void catch_up(beast_key *key, const beast_key_dues *dues, int64_t now_ns, int64_t ahead_ns)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed);
    int64_t later = (int64_t)(beast_unsettled_of(balance) - dues->admitted) * dues->interval_ns;
    int64_t arrival = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed);

    while (arrival < now_ns + ahead_ns + later &&
           !atomic_compare_exchange_weak_explicit(&key->arrival_ns, &arrival, now_ns + ahead_ns + later,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void beast_key_settle(beast_key_table *table, const beast_key_dues *dues, int64_t now_ns, int64_t ahead_ns,
                      int64_t used)
{
    beast_key *key = &table->records[dues->number];
    int64_t told = 0;

    if (dues->interval_ns > 0 && ahead_ns >= 0)
        catch_up(key, dues, now_ns, ahead_ns);
    if (used >= 0 && dues->answered >= 0 &&
        dues->month == atomic_load_explicit(&key->flags, memory_order_relaxed) >> BEAST_KEY_MONTH_AT) {
        told = dues->answered;
        if (used > atomic_load_explicit(&key->seen, memory_order_relaxed))
            atomic_store_explicit(&key->seen, used, memory_order_relaxed);
    }
    if (beast_key_grant(table, key, dues->admitted, told))
        beast_key_touch(table, &table->own, key);
}
