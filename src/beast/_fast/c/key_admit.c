/* Admission: the rate first, then lease and allowance. */
#include "key_table_inner.h"

/* Generic cell rate algorithm, virtual scheduling (ITU-T I.371, annex A): a request conforms when it is at most
 * `tolerance` ahead of its theoretical arrival time, and moves that time on by one interval. */
static inline bool conforms(beast_key *key, beast_key_rate rate, int64_t now_ns, int64_t *retry_ns)
{
    int64_t arrival = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed);
    int64_t next;
    do {
        if (arrival - now_ns > rate.tolerance_ns) {
            *retry_ns = arrival - now_ns - rate.tolerance_ns;
            return false;
        }
        next = (arrival > now_ns ? arrival : now_ns) + rate.interval_ns;
    } while (!atomic_compare_exchange_weak_explicit(&key->arrival_ns, &arrival, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Nothing more before the key is settled: then, or when the rate would let it through, if that is later. */
static beast_result not_before_settled(const beast_key_table *table, const beast_key *key, int64_t now_ns,
                                       int64_t *retry_ns)
{
    beast_key_rate rate = beast_key_rate_of(key, atomic_load_explicit(&table->terms.share, memory_order_relaxed));
    int64_t by_rate = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed) - now_ns - rate.tolerance_ns;

    *retry_ns = atomic_load_explicit(&table->terms.retry_ns, memory_order_relaxed);
    if (rate.interval_ns > 0 && by_rate > *retry_ns)
        *retry_ns = by_rate;
    return BEAST_RESULT_RATE_LIMITED;
}

static inline bool has_cap(uint64_t balance) { return balance >> BEAST_UNSETTLED_BITS != (uint64_t)BEAST_NO_CAP; }

/* Takes one answer of the allowance, and one admission of the lease, if there is one; together, or neither. */
static inline beast_result take(const beast_key_table *table, beast_key *key, uint32_t lease, int64_t now_ns,
                                uint64_t *before, int64_t *retry_ns)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed), next;
    do {
        if (lease && beast_unsettled_of(balance) >= lease)
            return not_before_settled(table, key, now_ns, retry_ns);
        if (balance < BEAST_ONE_ANSWER) {
            if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTIAL)
                return not_before_settled(table, key, now_ns, retry_ns);
            return BEAST_RESULT_QUOTA_EXCEEDED;
        }
        next = balance - (has_cap(balance) ? BEAST_ONE_ANSWER : 0) + (lease ? 1 : 0);
        if (next == balance)
            break;
        /* Whoever settles and finds none left has read its place in a list before: acquire. */
    } while (!atomic_compare_exchange_weak_explicit(&key->balance, &balance, next, memory_order_acquire,
                                                    memory_order_relaxed));
    *before = balance;
    return BEAST_RESULT_ANSWERED;
}

beast_result beast_key_admit(const beast_key_table *table, beast_key_cache *cache, beast_key *key, int64_t now_ns,
                             int64_t *retry_ns)
{
    if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return BEAST_RESULT_ANSWERED;
    const beast_key_terms *terms = &table->terms;
    uint32_t lease = 0;
    uint64_t before = 0;
    if (atomic_load_explicit(&terms->leasing, memory_order_relaxed)) {
        lease = atomic_load_explicit(&key->lease, memory_order_relaxed);
        /* Asked before the rate, so that who is refused for this has not used it. */
        if (lease && beast_unsettled_of(atomic_load_explicit(&key->balance, memory_order_relaxed)) >= lease)
            return not_before_settled(table, key, now_ns, retry_ns);
    }
    beast_key_rate rate = beast_key_rate_of(key, atomic_load_explicit(&terms->share, memory_order_relaxed));
    if (rate.interval_ns > 0 && !conforms(key, rate, now_ns, retry_ns))
        return BEAST_RESULT_RATE_LIMITED;
    beast_result result = take(table, key, lease, now_ns, &before, retry_ns);
    if (lease && result == BEAST_RESULT_ANSWERED && beast_unsettled_of(before) == 0)
        beast_key_touch(table, beast_key_list_of(cache), key);
    return result;
}

beast_result beast_key_take(const beast_key_table *table, beast_key *key, int64_t *retry_ns)
{
    uint64_t before = 0;
    if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return BEAST_RESULT_ANSWERED;
    return take(table, key, 0, INT64_MAX, &before, retry_ns);
}

void beast_key_refund(beast_key *key)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed);
    if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return;
    while (has_cap(balance) && !atomic_compare_exchange_weak_explicit(&key->balance, &balance,
                                                                      balance + BEAST_ONE_ANSWER,
                                                                      memory_order_relaxed, memory_order_relaxed))
        ;
}
