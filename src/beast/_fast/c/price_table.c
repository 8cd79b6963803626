#include "price_table.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "price_layout.h"

#define INSTRUMENTS_LIMIT (UINT32_C(1) << 24) /* of the index, whose sizes are 32 bits wide */

struct beast_price_table {
    _Atomic(beast_layout *) now;
    uint32_t max_instruments;
    beast_link links[BEAST_LINKS_MAX];
};

beast_price_table *beast_price_table_new(uint32_t max_instruments)
{
    beast_price_table *table = NULL;
    if (max_instruments <= INSTRUMENTS_LIMIT)
        table = aligned_alloc(_Alignof(beast_price_table), sizeof *table);
    if (!table)
        return NULL;
    memset(table, 0, sizeof *table);
    table->max_instruments = max_instruments;
    beast_layout *empty = beast_layout_build(NULL, 0, max_instruments);
    if (!empty) {
        free(table);
        return NULL;
    }
    atomic_init(&table->now, empty);
    return table;
}

void beast_price_table_free(beast_price_table *table)
{
    if (!table)
        return;
    beast_layout_free(atomic_load_explicit(&table->now, memory_order_relaxed));
    free(table);
}

const beast_layout *beast_layout_now(const beast_price_table *table)
{
    return atomic_load_explicit(&table->now, memory_order_acquire);
}

beast_link *beast_table_link(beast_price_table *table, uint32_t link)
{
    return link < BEAST_LINKS_MAX ? &table->links[link] : NULL;
}

/* The writer's own look at an instrument; NULL when there is none. */
static inline beast_origin *origin_of(const beast_price_table *table, uint32_t id)
{
    if (id >= table->max_instruments)
        return NULL;
    beast_origin *origin = &atomic_load_explicit(&table->now, memory_order_relaxed)->origins[id];
    return origin->slot ? origin : NULL;
}

const beast_slot *beast_price_slot(const beast_price_table *table, uint32_t id)
{
    const beast_origin *origin = origin_of(table, id);
    return origin ? origin->slot : NULL;
}

int64_t beast_price_time(const beast_price_table *table, uint32_t id)
{
    const beast_origin *origin = origin_of(table, id);
    return origin ? origin->time_ns : -1;
}

/* Readers that see an odd sequence, or one that changed, read again. */
static inline uint32_t write_begin(beast_slot *slot)
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    return sequence + 2;
}

static inline void write_end(beast_slot *slot, uint32_t sequence)
{
    atomic_store_explicit(&slot->sequence, sequence, memory_order_release);
}

/* The answer's text up to the quote that closes "timestamp"; `text` has room for whole copies of every piece.
 * Returns its length. */
static inline uint32_t write_text(uint8_t *text, const beast_origin *origin, const uint8_t *price,
                                  uint32_t price_len, int64_t time_ns, uint8_t tier, uint32_t *timestamp_len)
{
    static const char ws[BEAST_WAY_MAX] = "ws\",\"timestamp\":\"", rest[BEAST_WAY_MAX] = "rest\",\"timestamp\":\"";
    uint8_t *end = text;
    memcpy(end, origin->head, sizeof origin->head);
    end += origin->head_len;
    memcpy(end, price, price_len);
    end += price_len;
    memcpy(end, origin->body, sizeof origin->body);
    end += origin->body_len;
    memcpy(end, tier == 3 ? rest : ws, BEAST_WAY_MAX);
    end += tier == 3 ? BEAST_WAY_MAX : BEAST_WAY_MAX - 2;
    *timestamp_len = beast_write_time(end, time_ns);
    end += *timestamp_len;
    memset(end, ' ', 8);
    *end++ = '"';
    return (uint32_t)(end - text);
}

static void publish(beast_origin *origin, const uint8_t *price, uint32_t price_len, int64_t time_ns,
                    int64_t received_ns, int64_t fresh_ns, uint32_t epoch, uint8_t tier)
{
    union {
        uint64_t word[BEAST_TEXT_WORDS + 8];
        uint8_t byte[BEAST_SLOT_TEXT + 64];
    } text;
    uint32_t timestamp_len;
    uint32_t text_len = write_text(text.byte, origin, price, price_len, time_ns, tier, &timestamp_len);
    uint32_t words = (text_len + 7) / 8;

    beast_slot *slot = origin->slot;
    origin->time_ns = time_ns;
    uint32_t sequence = write_begin(slot);
    atomic_store_explicit(&slot->epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&slot->received_ns, received_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->fresh_ns, fresh_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->shape, price_len | timestamp_len << 8 | text_len << 16 | (uint32_t)tier << 24,
                          memory_order_relaxed);
    for (uint32_t i = 0; i < words; i++)
        atomic_store_explicit(&slot->text[i], text.word[i], memory_order_relaxed);
    write_end(slot, sequence);
}

beast_status beast_price_publish(beast_price_table *table, uint32_t id, const uint8_t *price, uint32_t price_len,
                                 int64_t time_ns, int64_t received_ns, int64_t fresh_ns, uint32_t epoch,
                                 uint8_t tier)
{
    if (price_len > BEAST_PRICE_MAX || !beast_is_decimal(price, price_len) || time_ns < 0 || received_ns <= 0 ||
        tier < 1 || tier > 3)
        return BEAST_BAD_ARGUMENT;
    beast_origin *origin = origin_of(table, id);
    if (!origin)
        return BEAST_NOT_FOUND;
    publish(origin, price, price_len, time_ns, received_ns, fresh_ns, epoch, tier);
    return BEAST_OK;
}

void beast_price_forget(beast_price_table *table, uint32_t id)
{
    beast_origin *origin = origin_of(table, id);
    if (!origin)
        return;
    uint32_t sequence = write_begin(origin->slot);
    atomic_store_explicit(&origin->slot->received_ns, 0, memory_order_relaxed);
    write_end(origin->slot, sequence);
    origin->time_ns = -1;
}

/* Takes over the price that the old layout holds for the same asset, exchange and currency. */
static void carry_over(const beast_layout *old, const beast_layout *layout, const beast_instrument *to)
{
    beast_name asset, exchange;
    beast_name_fold(&asset, (const uint8_t *)to->asset, (uint32_t)strlen(to->asset), true);
    beast_name_fold(&exchange, (const uint8_t *)to->exchange, (uint32_t)strlen(to->exchange), false);
    uint32_t number = beast_layout_exchange(old, &exchange);
    uint64_t pair = beast_place_hash(beast_name_hash(&asset), number);
    uint32_t count;
    const beast_slot *slot = number ? beast_layout_find(old, number, &asset, pair, &count) : NULL;
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    if (!slot || !beast_slot_copy(slot, &price, text))
        return;
    const beast_origin *before = &old->origins[slot->id];
    beast_origin *after = &layout->origins[to->id];
    if (before->body_len != after->body_len || memcmp(before->body, after->body, after->body_len) != 0)
        return;
    /* An epoch speaks of one link: on another it proves nothing, and no link is ever at 0. */
    uint32_t epoch = price.link == to->link ? price.epoch : 0;
    publish(after, text + price.price_at, price.price_len, before->time_ns, price.received_ns,
            price.fresh_ns, epoch, price.tier);
}

beast_status beast_price_table_load(beast_price_table *table, const beast_instrument *list, uint32_t n,
                                    const beast_readers *readers)
{
    beast_layout *layout = beast_layout_build(list, n, table->max_instruments);
    if (!layout)
        return errno == EINVAL ? BEAST_BAD_ARGUMENT : BEAST_NO_MEMORY;
    beast_layout *old = atomic_load_explicit(&table->now, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        carry_over(old, layout, &list[i]);
    atomic_store_explicit(&table->now, layout, memory_order_seq_cst);
    beast_readers_wait(readers);
    beast_layout_free(old);
    return BEAST_OK;
}

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
    out->price_at = slot->price_at;
    out->timestamp_at = (uint8_t)(out->text_len - 1 - out->timestamp_len);
    return out->received_ns != 0;
}

static inline __attribute__((always_inline)) void copy_words(uint8_t *to, const _Atomic uint64_t *from, int n)
{
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        uint64_t word = atomic_load_explicit(from + i, memory_order_relaxed);
        memcpy(to + 8 * i, &word, sizeof word);
    }
}

bool beast_slot_text(const beast_slot *slot, const beast_price *price, uint8_t *text)
{
    /* Whole cache lines, as many as hold text: three words share the first one with the header. */
    const _Atomic uint64_t *from = slot->text + 3;
    const uint8_t *end = text + price->text_len;
    copy_words(text, slot->text, 3);
    for (text += 24; text < end; text += BEAST_CACHE_LINE, from += 8)
        copy_words(text, from, 8);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == price->sequence;
}

bool beast_slot_copy(const beast_slot *slot, beast_price *out, uint8_t text[BEAST_SLOT_TEXT])
{
    do
        if (!beast_slot_read(slot, out))
            return false;
    while (!beast_slot_text(slot, out, text));
    return true;
}

beast_state beast_price_state(const beast_price *price, const beast_link *link, int64_t now_ns, int64_t ttl_ns)
{
    if (now_ns - price->fresh_ns <= ttl_ns)
        return BEAST_STATE_LIVE;
    /* Whoever sees the link up sees the epoch it came up with: an old trade can't pass for the new connection's. */
    bool proven = price->tier == 1 && atomic_load_explicit(&link->up, memory_order_acquire) &&
                  atomic_load_explicit(&link->epoch, memory_order_relaxed) == price->epoch &&
                  now_ns - atomic_load_explicit(&link->proven_ns, memory_order_relaxed) <=
                      atomic_load_explicit(&link->patience_ns, memory_order_relaxed);
    return proven ? BEAST_STATE_QUIET : BEAST_STATE_STALE;
}
