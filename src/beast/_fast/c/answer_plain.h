/* The short way to an answer, inlined into the loop over a batch: of one asset, whose first price is live, for a key that
 * this lane has seen and nothing but its limits holds back. Nearly every answer is one; the long way, beast_answer_body,
 * is some three times as long, and this one is never of another opinion. */
#ifndef BEAST_ANSWER_PLAIN_H
#define BEAST_ANSWER_PLAIN_H

#include "answer_text.h"
#include "key_admit.h"
#include "price_layout.h"

/* What holds for a whole batch. */
typedef struct beast_plain {
    beast_lane *lane;
    const beast_shared *shared;
    beast_price_table *prices;
    const beast_key_table *keys;
    beast_moment moment;
    int64_t ttl_ns;
} beast_plain;

static inline beast_plain beast_plain_begin(beast_lane *lane, const beast_moment *moment)
{
    const beast_shared *shared = lane->shared;
    return (beast_plain){lane, shared, shared->prices, shared->keys, *moment, beast_shared_freshness(shared).ttl_ns};
}

/* Live as beast_price_state says, by nothing but the trade itself and its connection's first line. */
static inline bool beast_plain_is_proven(const beast_plain *plain, const beast_slot *slot, uint32_t epoch, int64_t age_ns)
{
    const beast_link *link = beast_table_link(plain->prices, slot->link);
    return atomic_load_explicit(&link->up, memory_order_acquire) &&
           epoch >= atomic_load_explicit(&link->first, memory_order_relaxed) &&
           age_ns <= atomic_load_explicit(&link->patience_ns, memory_order_relaxed);
}

/* What a slot holds besides its text. */
typedef struct beast_glance {
    uint32_t age_ms, shape, text_len;
} beast_glance;

/* Whether its price is live, and its text, of one write, stands at `out`; else the long way tells why not. */
static inline bool beast_plain_text(const beast_plain *plain, const beast_slot *slot, uint8_t *out, beast_glance *glance)
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    int64_t received_ns = atomic_load_explicit(&slot->received_ns, memory_order_relaxed);
    /* Younger than the batch's clock: a large number. */
    uint64_t age_ns = (uint64_t)(plain->moment.now_ns - received_ns), age_ms = age_ns / 1000000;
    if (sequence % 2 || received_ns == 0 || age_ms > 999999 ||
        plain->moment.now_ns - atomic_load_explicit(&slot->fresh_ns, memory_order_relaxed) > plain->ttl_ns)
        return false;
    uint32_t epoch = atomic_load_explicit(&slot->epoch, memory_order_relaxed) & ~BEAST_DOUBTED;
    if (epoch != 0 && !beast_plain_is_proven(plain, slot, epoch, (int64_t)age_ns))
        return false;
    uint32_t shape = atomic_load_explicit(&slot->shape, memory_order_relaxed), len = shape >> 16 & 0xFF;
    beast_copy_text(slot, len, out);
    *glance = (beast_glance){(uint32_t)age_ms, shape, len};
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == sequence;
}

static inline void beast_plain_record(const beast_plain *plain, beast_usage *usage, const beast_key *key,
                                      const beast_slot *slot, const beast_glance *glance, uint32_t tier)
{
    usage->time_ns = plain->moment.wall_ns;
    usage->key_id = atomic_load_explicit(&key->id, memory_order_relaxed);
    usage->key_number = (uint32_t)(key - plain->keys->records);
    usage->instrument = slot->id;
    usage->age_ms = glance->age_ms;
    usage->latency_ns = 0;
    usage->state = BEAST_STATE_LIVE;
    usage->tier = (uint8_t)tier;
    usage->protocol = plain->lane->asked_by;
    usage->lane = plain->lane->number;
    usage->prices = 1;
    usage->way = (uint8_t)(glance->shape >> (24 + BEAST_WAY_SHIFT));
    usage->reserved = 0;
}

typedef enum beast_plain_end {
    BEAST_PLAIN_ANSWERED,
    BEAST_PLAIN_REFUSED, /* the key's limits refuse it, as `reply` says */
    BEAST_PLAIN_NOT,     /* nothing has happened: the long way has to be gone */
} beast_plain_end;

/* The answer's length is *len, and behind it stand spaces up to BEAST_ANSWER_PAD. Its usage record is claimed; the hit is
 * the caller's to count. */
static inline beast_plain_end beast_answer_plain(const beast_plain *plain, const beast_request *req,
                                                 const beast_lookup *lookup, uint8_t *out, uint32_t *len,
                                                 beast_reply *reply)
{
    const beast_slot *slot = lookup->slot;
    beast_key *key = slot ? beast_key_recalled(&lookup->key) : NULL;
    if (!key || req->max_age_ms >= 0 || !beast_slot_is(slot, lookup->exchange, &req->assets[0]))
        return BEAST_PLAIN_NOT;
    uint32_t flags = atomic_load_explicit(&key->flags, memory_order_relaxed);
    if (flags & (BEAST_KEY_NO_PRICE | BEAST_KEY_NETWORKS))
        return BEAST_PLAIN_NOT;
    beast_glance glance;
    if (!beast_plain_text(plain, slot, out, &glance))
        return BEAST_PLAIN_NOT;
    beast_usage *usage = beast_usage_claim(plain->lane->usage);
    if (!usage)
        return BEAST_PLAIN_NOT;

    int64_t retry_ns = 0;
    if (flags & BEAST_KEY_PARTNER)
        beast_count(&plain->lane->counters, BEAST_COUNTER_partner_requests, 1);
    beast_result result =
        beast_key_admit_flagged(plain->keys, plain->lane->keys, key, flags, plain->moment.now_ns, &retry_ns);
    if (__builtin_expect(result != BEAST_RESULT_ANSWERED, 0)) {
        beast_usage_unclaim(plain->lane->usage);
        beast_answer_refusal(plain->lane, req, key, result, retry_ns, out, reply);
        return BEAST_PLAIN_REFUSED;
    }
    uint32_t tier = glance.shape >> 24 & ((1 << BEAST_WAY_SHIFT) - 1);
    beast_plain_record(plain, usage, key, slot, &glance, tier);
    const beast_rest *rest = &plain->shared->rests[BEAST_STATE_LIVE][tier - 1];
    uint8_t *end = __builtin_expect(glance.age_ms < 1000, 1)
                       ? beast_put_live_rest(out, glance.text_len, rest, glance.age_ms)
                       : beast_put_rest(out + glance.text_len, plain->shared, BEAST_STATE_LIVE, (uint8_t)tier, glance.age_ms);
    *len = (uint32_t)((req->id.ptr ? beast_put_close(end - 1, req) : end) - out);
    return BEAST_PLAIN_ANSWERED;
}

#endif
