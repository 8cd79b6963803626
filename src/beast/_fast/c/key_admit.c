/* Admission: the rate first, then the allowance. */
#include "key_table.h"

/* Generic cell rate algorithm, virtual scheduling (ITU-T I.371, annex A): a request conforms when it is at most
 * `tolerance` ahead of its theoretical arrival time, and moves that time on by one interval. */
static inline bool conforms(beast_key *key, int64_t interval, int64_t now_ns, int64_t *retry_ns)
{
    int64_t tolerance = atomic_load_explicit(&key->tolerance_ns, memory_order_relaxed);
    int64_t arrival = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed);
    int64_t next;
    do {
        if (arrival - now_ns > tolerance) {
            *retry_ns = arrival - now_ns - tolerance;
            return false;
        }
        next = (arrival > now_ns ? arrival : now_ns) + interval;
    } while (!atomic_compare_exchange_weak_explicit(&key->arrival_ns, &arrival, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Moves the allowance by one, unless there is no cap, or nothing to take. */
static inline bool move_allowance(beast_key *key, int64_t by)
{
    int64_t left = atomic_load_explicit(&key->allowance, memory_order_relaxed);
    do {
        if (left == INT64_MAX)
            return true;
        if (by < 0 && left <= 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&key->allowance, &left, left + by, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

beast_result beast_key_admit(beast_key *key, int64_t now_ns, int64_t *retry_ns)
{
    if (atomic_load_explicit(&key->partner, memory_order_relaxed))
        return BEAST_RESULT_ANSWERED;
    int64_t interval = atomic_load_explicit(&key->interval_ns, memory_order_relaxed);
    if (interval > 0 && !conforms(key, interval, now_ns, retry_ns))
        return BEAST_RESULT_RATE_LIMITED;
    return move_allowance(key, -1) ? BEAST_RESULT_ANSWERED : BEAST_RESULT_QUOTA_EXCEEDED;
}

void beast_key_refund(beast_key *key)
{
    if (!atomic_load_explicit(&key->partner, memory_order_relaxed))
        move_allowance(key, 1);
}
