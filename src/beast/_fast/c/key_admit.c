#include "key_admit.h"

beast_result beast_key_not_before_settled(const beast_key_table *table, const beast_key *key, int64_t now_ns,
                                          int64_t *retry_ns)
{
    beast_key_rate rate = beast_key_rate_of(key, atomic_load_explicit(&table->terms.share, memory_order_relaxed));
    int64_t by_rate = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed) - now_ns - rate.tolerance_ns;

    *retry_ns = atomic_load_explicit(&table->terms.retry_ns, memory_order_relaxed);
    if (rate.interval_ns > 0 && by_rate > *retry_ns)
        *retry_ns = by_rate;
    return BEAST_RESULT_RATE_LIMITED;
}

beast_result beast_key_admit_shared(const beast_key_table *table, beast_key_cache *cache, beast_key *key, uint32_t share,
                                    int64_t now_ns, int64_t *retry_ns)
{
    uint32_t lease = 0;
    uint64_t before = 0;
    if (atomic_load_explicit(&table->terms.leasing, memory_order_relaxed)) {
        lease = atomic_load_explicit(&key->lease, memory_order_relaxed);
        /* Asked before the rate, so that who is refused for this has not used it. */
        if (lease && beast_unsettled_of(atomic_load_explicit(&key->balance, memory_order_relaxed)) >= lease)
            return beast_key_not_before_settled(table, key, now_ns, retry_ns);
    }
    beast_key_rate rate = beast_key_rate_of(key, share);
    if (rate.interval_ns > 0 && !beast_key_conforms(key, rate, now_ns, retry_ns))
        return BEAST_RESULT_RATE_LIMITED;
    beast_result result = beast_key_take_both(table, key, lease, now_ns, &before, retry_ns);
    if (lease && result == BEAST_RESULT_ANSWERED && beast_unsettled_of(before) == 0)
        beast_key_touch(table, beast_key_list_of(cache), key);
    return result;
}

beast_result beast_key_admit(const beast_key_table *table, beast_key_cache *cache, beast_key *key, int64_t now_ns,
                             int64_t *retry_ns)
{
    uint32_t flags = atomic_load_explicit(&key->flags, memory_order_relaxed);
    return beast_key_admit_flagged(table, cache, key, flags, now_ns, retry_ns);
}

beast_result beast_key_take(const beast_key_table *table, beast_key *key, int64_t *retry_ns)
{
    uint64_t before = 0;
    if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return BEAST_RESULT_ANSWERED;
    return beast_key_take_both(table, key, 0, INT64_MAX, &before, retry_ns);
}

void beast_key_refund(beast_key *key)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed);
    if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return;
    while (beast_key_has_cap(balance) &&
           !atomic_compare_exchange_weak_explicit(&key->balance, &balance, balance + BEAST_ONE_ANSWER,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}
