/* Admission as it is inlined into the way to an answer: the rate first, then lease and allowance. For key_admit.c and
 * answer_plain.h; key_table.h says what it means. */
#ifndef BEAST_KEY_ADMIT_H
#define BEAST_KEY_ADMIT_H

#include "key_table_inner.h"

/* Nothing more before the key is settled: then, or when the rate would let it through, if that is later. */
beast_result beast_key_not_before_settled(const beast_key_table *table, const beast_key *key, int64_t now_ns,
                                          int64_t *retry_ns);

/* The same as below where other nodes admit as well: no partner's key. */
beast_result beast_key_admit_shared(const beast_key_table *table, beast_key_cache *cache, beast_key *key, uint32_t share,
                                    int64_t now_ns, int64_t *retry_ns);

/* Generic cell rate algorithm, virtual scheduling (ITU-T I.371, annex A): a request conforms when it is at most
 * `tolerance` ahead of its theoretical arrival time, and moves that time on by one interval. */
static inline bool beast_key_conforms(beast_key *key, beast_key_rate rate, int64_t now_ns, int64_t *retry_ns)
{
    int64_t arrival = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed);
    int64_t next;
    do {
        if (__builtin_expect(arrival - now_ns > rate.tolerance_ns, 0)) {
            *retry_ns = arrival - now_ns - rate.tolerance_ns;
            return false;
        }
        next = (arrival > now_ns ? arrival : now_ns) + rate.interval_ns;
    } while (!atomic_compare_exchange_weak_explicit(&key->arrival_ns, &arrival, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static inline bool beast_key_has_cap(uint64_t balance)
{
    return balance >> BEAST_UNSETTLED_BITS != (uint64_t)BEAST_NO_CAP;
}

/* Takes one answer of the allowance, and one admission of the lease, if there is one; together, or neither. */
static inline beast_result beast_key_take_both(const beast_key_table *table, beast_key *key, uint32_t lease,
                                               int64_t now_ns, uint64_t *before, int64_t *retry_ns)
{
    uint64_t balance = atomic_load_explicit(&key->balance, memory_order_relaxed), next;
    do {
        if (lease && beast_unsettled_of(balance) >= lease)
            return beast_key_not_before_settled(table, key, now_ns, retry_ns);
        if (__builtin_expect(balance < BEAST_ONE_ANSWER, 0)) {
            if (atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTIAL)
                return beast_key_not_before_settled(table, key, now_ns, retry_ns);
            return BEAST_RESULT_QUOTA_EXCEEDED;
        }
        if (!beast_key_has_cap(balance) && !lease)
            break;
        next = balance - (beast_key_has_cap(balance) ? BEAST_ONE_ANSWER : 0) + (lease ? 1 : 0);
        /* Whoever settles and finds none left has read its place in a list before: acquire. */
    } while (!atomic_compare_exchange_weak_explicit(&key->balance, &balance, next, memory_order_acquire,
                                                    memory_order_relaxed));
    *before = balance;
    return BEAST_RESULT_ANSWERED;
}

/* beast_key_admit of a key with these flags. */
static inline beast_result beast_key_admit_flagged(const beast_key_table *table, beast_key_cache *cache, beast_key *key,
                                                   uint32_t flags, int64_t now_ns, int64_t *retry_ns)
{
    const beast_key_terms *terms = &table->terms;
    uint64_t before = 0;
    if (flags & BEAST_KEY_PARTNER)
        return BEAST_RESULT_ANSWERED;
    uint32_t share = atomic_load_explicit(&terms->share, memory_order_relaxed);
    if (__builtin_expect(atomic_load_explicit(&terms->leasing, memory_order_relaxed) || share > 1, 0))
        return beast_key_admit_shared(table, cache, key, share, now_ns, retry_ns);
    beast_key_rate rate = beast_key_rate_of(key, 1);
    if (rate.interval_ns > 0 && !beast_key_conforms(key, rate, now_ns, retry_ns))
        return BEAST_RESULT_RATE_LIMITED;
    return beast_key_take_both(table, key, 0, now_ns, &before, retry_ns);
}

#endif
