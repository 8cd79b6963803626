/* A price as readers take it: whole, or again. */
#include <sched.h>
#include <string.h>

#include "price_layout.h"

bool beast_slot_read(const beast_slot *slot, beast_price *out)
{
    for (uint32_t tries = 1;; tries++) {
        out->sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
        out->shape = atomic_load_explicit(&slot->shape, memory_order_relaxed);
        out->received_ns = atomic_load_explicit(&slot->received_ns, memory_order_relaxed);
        out->fresh_ns = atomic_load_explicit(&slot->fresh_ns, memory_order_relaxed);
        out->epoch = atomic_load_explicit(&slot->epoch, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (out->sequence == atomic_load_explicit(&slot->sequence, memory_order_relaxed) && out->sequence % 2 == 0)
            break;
        /* A writer needs some 20 ns, unless it was taken off this very processor in between. */
        if (tries % 64 == 0)
            sched_yield();
    }
    out->link = slot->link;
    out->way = out->tier >> BEAST_WAY_SHIFT;
    out->tier &= (1 << BEAST_WAY_SHIFT) - 1;
    out->price_at = slot->price_at;
    out->timestamp_at = (uint8_t)(out->text_len - 1 - out->timestamp_len);
    return out->received_ns != 0;
}

static __attribute__((noinline)) uint32_t copy_tail(const beast_slot *slot, uint8_t *text)
{
    const beast_tail *tail = (const beast_tail *)(slot + 1);
    uint32_t len = (uint32_t)atomic_load_explicit(&tail->len, memory_order_relaxed);
    for (uint32_t at = 0; at < len; at += 8)
        beast_copy_word(text + at, tail->text + at / 8);
    return len;
}

static inline bool is_unchanged(const beast_slot *slot, const beast_price *price)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == price->sequence;
}

uint32_t beast_slot_text(const beast_slot *slot, const beast_price *price, uint8_t *text)
{
    uint32_t len = price->text_len;
    beast_copy_text(slot, len, text);
    if (slot->tailed)
        len += copy_tail(slot, text + len);
    return is_unchanged(slot, price) ? len : 0;
}

uint32_t beast_slot_refusal(const beast_slot *slot, uint8_t *text)
{
    beast_price price;
    uint32_t len;
    if (!slot->tailed)
        return 0;
    do {
        if (beast_slot_read(slot, &price))
            return 0;
        len = copy_tail(slot, text);
    } while (!is_unchanged(slot, &price));
    return len;
}

bool beast_slot_copy(const beast_slot *slot, beast_price *out, uint8_t text[BEAST_SLOT_TEXT])
{
    do {
        if (!beast_slot_read(slot, out))
            return false;
        beast_copy_text(slot, out->text_len, text);
    } while (!is_unchanged(slot, out));
    return true;
}

/* Kept alive without its connection, for a while after that was last heard of: off unless somebody wants it. */
static __attribute__((noinline)) bool is_spared(const beast_link *link, uint32_t epoch, int64_t now_ns,
                                                int64_t linkless_ns)
{
    if (epoch >= atomic_load_explicit(&link->first, memory_order_relaxed))
        return now_ns - atomic_load_explicit(&link->proven_ns, memory_order_relaxed) <= linkless_ns;
    return epoch >= atomic_load_explicit(&link->before, memory_order_relaxed) &&
           now_ns - atomic_load_explicit(&link->lost_ns, memory_order_relaxed) <= linkless_ns;
}

beast_state beast_price_state(const beast_price *price, const beast_link *link, int64_t now_ns,
                              const beast_freshness *freshness)
{
    uint32_t epoch = price->epoch & ~BEAST_DOUBTED;
    bool fresh = now_ns - price->fresh_ns <= freshness->ttl_ns;
    if (epoch == 0) /* tier 2 or REST told it: no link can take it back */
        return fresh ? BEAST_STATE_LIVE : BEAST_STATE_STALE;
    /* Whoever sees the link up sees the epoch it came up with: an old trade can't pass for the new connection's. */
    bool own = atomic_load_explicit(&link->up, memory_order_acquire) &&
               epoch >= atomic_load_explicit(&link->first, memory_order_relaxed);
    int64_t patience_ns = atomic_load_explicit(&link->patience_ns, memory_order_relaxed);
    /* A trade has proven its connection by coming: while that is enough, the line that each frame writes isn't read. */
    bool proven = own && ((fresh && now_ns - price->received_ns <= patience_ns) ||
                          now_ns - atomic_load_explicit(&link->proven_ns, memory_order_relaxed) <= patience_ns);
    if (fresh)
        return proven || (freshness->linkless_ns > 0 && is_spared(link, epoch, now_ns, freshness->linkless_ns))
                   ? BEAST_STATE_LIVE
                   : BEAST_STATE_STALE;
    return proven && price->tier == 1 && price->epoch == atomic_load_explicit(&link->epoch, memory_order_relaxed)
               ? BEAST_STATE_QUIET
               : BEAST_STATE_STALE;
}
