#include "price_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "price_layout.h"

#define INSTRUMENTS_LIMIT (UINT32_C(1) << 24) /* of the index, whose sizes are 32 bits wide */
#define NEVER (INT64_MIN / 2)                 /* a time that every TTL is over since */

struct beast_price_table {
    _Atomic(beast_layout *) now;
    uint32_t max_instruments;
    beast_price_rules rules;
    int64_t now_ns;        /* of the last call that told */
    int64_t flushed_ns;
    beast_origin *dirty;   /* the first */
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

beast_origin *beast_table_origin(const beast_price_table *table, uint32_t id)
{
    if (id >= table->max_instruments)
        return NULL;
    beast_origin *origin = &atomic_load_explicit(&table->now, memory_order_relaxed)->origins[id];
    return origin->slot ? origin : NULL;
}

const beast_slot *beast_price_slot(const beast_price_table *table, uint32_t id)
{
    const beast_origin *origin = beast_table_origin(table, id);
    return origin ? origin->slot : NULL;
}

int64_t beast_price_time(const beast_price_table *table, uint32_t id)
{
    const beast_origin *origin = beast_table_origin(table, id);
    return origin ? origin->time_ns : -1;
}

const beast_price_rules *beast_table_rules(const beast_price_table *table)
{
    return &table->rules;
}

void beast_price_judge(beast_price_table *table, const beast_price_rules *rules)
{
    table->rules = *rules;
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

static void write_tail(beast_slot *slot, const uint8_t *text, uint32_t len)
{
    beast_tail *tail = (beast_tail *)(slot + 1);
    atomic_store_explicit(&tail->len, len, memory_order_relaxed);
    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = 0;
        memcpy(&word, text + at, len - at < 8 ? len - at : 8);
        atomic_store_explicit(&tail->text[at / 8], word, memory_order_relaxed);
    }
}

static inline uint32_t way_of(const beast_origin *origin, const beast_quote *quote)
{
    if (origin->slot->tailed)
        return BEAST_WAY_MEDIAN;
    return quote->tier >= 3 ? BEAST_WAY_REST : BEAST_WAY_WS;
}

/* The answer's text up to the quote that closes "timestamp"; `text` has room for whole copies of every piece.
 * Returns its length. */
static inline uint32_t write_text(uint8_t *text, const beast_origin *origin, const beast_quote *quote,
                                  uint32_t *timestamp_len)
{
    static const char ways[][BEAST_WAY_MAX] = {"ws\",\"timestamp\":\"", "rest\",\"timestamp\":\"", "median\",\"timestamp\":\""};
    uint32_t way = way_of(origin, quote);
    uint8_t *end = text;
    memcpy(end, origin->head, sizeof origin->head);
    end += origin->head_len;
    memcpy(end, quote->price, quote->price_len);
    end += quote->price_len;
    memcpy(end, origin->body, sizeof origin->body);
    end += origin->body_len;
    memcpy(end, ways[way], BEAST_WAY_MAX);
    end += BEAST_WAY_MAX - 4 + 2 * way;
    *timestamp_len = beast_write_time(end, quote->time_ns);
    end += *timestamp_len;
    memset(end, ' ', 8);
    *end++ = '"';
    return (uint32_t)(end - text);
}

void beast_origin_publish(beast_origin *origin, const beast_quote *quote, const uint8_t *tail, uint32_t tail_len)
{
    union {
        uint64_t word[BEAST_TEXT_WORDS + 8];
        uint8_t byte[BEAST_SLOT_TEXT + 64];
    } text;
    uint32_t timestamp_len;
    uint32_t text_len = write_text(text.byte, origin, quote, &timestamp_len);
    uint32_t words = (text_len + 7) / 8;

    beast_slot *slot = origin->slot;
    origin->time_ns = quote->time_ns;
    origin->value = quote->value;
    origin->held = false;
    origin->by_rest = quote->tier >= 3;
    uint32_t sequence = write_begin(slot);
    atomic_store_explicit(&slot->epoch, quote->epoch, memory_order_relaxed);
    atomic_store_explicit(&slot->received_ns, quote->received_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->fresh_ns, quote->fresh_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->shape,
                          quote->price_len | timestamp_len << 8 | text_len << 16 |
                              (uint32_t)((quote->tier & (BEAST_VIA_REST - 1)) | way_of(origin, quote) << BEAST_WAY_SHIFT) << 24,
                          memory_order_relaxed);
    for (uint32_t i = 0; i < words; i++)
        atomic_store_explicit(&slot->text[i], text.word[i], memory_order_relaxed);
    if (tail)
        write_tail(slot, tail, tail_len);
    write_end(slot, sequence);
}

void beast_origin_forget(beast_origin *origin, const uint8_t *tail, uint32_t tail_len)
{
    uint32_t sequence = write_begin(origin->slot);
    atomic_store_explicit(&origin->slot->received_ns, 0, memory_order_relaxed);
    if (tail)
        write_tail(origin->slot, tail, tail_len);
    write_end(origin->slot, sequence);
    origin->time_ns = -1;
}

bool beast_price_was_told_later(const beast_price_table *table, uint32_t id, int64_t time_ns, double value)
{
    const int64_t lag_ns = 2000000000; /* REST may say a little later what a connection says at once */
    const beast_origin *origin = beast_table_origin(table, id);
    return origin && origin->by_rest && origin->value != value && origin->time_ns - time_ns > lag_ns;
}

/* The price of one of a consensus' sources is no longer what it was. */
static inline void touch(beast_price_table *table, beast_origin *source)
{
    beast_origin *consensus = source->consensus;
    if (!consensus || consensus->dirty)
        return;
    consensus->dirty = true;
    consensus->next_dirty = table->dirty;
    table->dirty = consensus;
}

beast_status beast_price_put(beast_price_table *table, uint32_t id, const beast_quote *quote)
{
    beast_origin *origin = beast_table_origin(table, id);
    if (!origin)
        return BEAST_NOT_FOUND;
    beast_origin_publish(origin, quote, NULL, 0);
    touch(table, origin);
    return BEAST_OK;
}

beast_status beast_price_publish(beast_price_table *table, uint32_t id, const uint8_t *price, uint32_t price_len,
                                 int64_t time_ns, int64_t received_ns, int64_t fresh_ns, uint32_t epoch,
                                 uint8_t tier)
{
    if (price_len > BEAST_PRICE_MAX || !beast_is_decimal(price, price_len) || time_ns < 0 || received_ns <= 0 ||
        tier == 0 || tier == BEAST_VIA_REST || tier > (2 | BEAST_VIA_REST))
        return BEAST_BAD_ARGUMENT;
    const beast_quote quote = {
        .price = price,
        .price_len = price_len,
        .value = beast_decimal_value(price, price_len),
        .time_ns = time_ns,
        .received_ns = received_ns,
        .fresh_ns = fresh_ns,
        .epoch = epoch,
        .tier = tier,
    };
    return beast_price_put(table, id, &quote);
}

void beast_price_forget(beast_price_table *table, uint32_t id)
{
    beast_origin *origin = beast_table_origin(table, id);
    if (!origin)
        return;
    beast_origin_forget(origin, NULL, 0);
    touch(table, origin);
}

static void doubt(beast_price_table *table, beast_origin *origin)
{
    uint32_t epoch = atomic_load_explicit(&origin->slot->epoch, memory_order_relaxed);
    uint32_t sequence = write_begin(origin->slot);
    atomic_store_explicit(&origin->slot->epoch, epoch | BEAST_DOUBTED, memory_order_relaxed);
    write_end(origin->slot, sequence);
    touch(table, origin);
}

void beast_price_hold(beast_price_table *table, uint32_t id)
{
    beast_origin *origin = beast_table_origin(table, id);
    if (!origin)
        return;
    origin->held = true;
    doubt(table, origin);
}

void beast_price_doubt(beast_price_table *table, uint32_t id)
{
    beast_origin *origin = beast_table_origin(table, id);
    if (origin)
        doubt(table, origin);
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
    if (!slot || slot->tailed || !beast_slot_copy(slot, &price, text))
        return;
    const beast_origin *before = &old->origins[slot->id];
    beast_origin *after = &layout->origins[to->id];
    if (before->body_len != after->body_len || memcmp(before->body, after->body, after->body_len) != 0)
        return;
    /* An epoch speaks of one link: by another nothing vouches for the price, and it is stale. */
    bool orphaned = price.epoch != 0 && price.link != to->link;
    bool by_rest = price.way == BEAST_WAY_REST;
    const beast_quote quote = {
        .price = text + price.price_at,
        .price_len = price.price_len,
        .value = before->value,
        .time_ns = before->time_ns,
        .received_ns = price.received_ns,
        .fresh_ns = orphaned ? NEVER : price.fresh_ns,
        .epoch = orphaned ? 0 : price.epoch,
        .tier = by_rest && price.tier < 3 ? price.tier | BEAST_VIA_REST : price.tier,
    };
    beast_origin_publish(after, &quote, NULL, 0);
    after->held = before->held;
}

beast_status beast_price_table_load(beast_price_table *table, const beast_instrument *list, uint32_t n,
                                    const beast_readers *readers)
{
    beast_layout *layout = beast_layout_build(list, n, table->max_instruments);
    if (!layout)
        return errno == EINVAL ? BEAST_BAD_ARGUMENT : BEAST_NO_MEMORY;
    beast_price_table_swap(table, layout, list, n, readers);
    return BEAST_OK;
}

void beast_price_table_swap(beast_price_table *table, beast_layout *layout, const beast_instrument *list, uint32_t n,
                            const beast_readers *readers)
{
    beast_layout *old = atomic_load_explicit(&table->now, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        carry_over(old, layout, &list[i]);
    beast_layout_agree(table, layout, table->now_ns);
    table->dirty = NULL;
    atomic_store_explicit(&table->now, layout, memory_order_seq_cst);
    beast_readers_wait(readers);
    beast_layout_free(old);
}

void beast_price_flush(beast_price_table *table, int64_t now_ns)
{
    const uint64_t pause_ns = 1000000; /* a busy asset has more trades than anybody can ask for */
    if (!table->dirty || (uint64_t)(now_ns - table->flushed_ns) < pause_ns)
        return;
    table->now_ns = table->flushed_ns = now_ns;
    beast_layout *layout = atomic_load_explicit(&table->now, memory_order_relaxed);
    for (beast_origin *each = table->dirty; each; each = each->next_dirty)
        beast_origin_agree(table, layout, each, now_ns);
    table->dirty = NULL;
}

void beast_price_sweep(beast_price_table *table, int64_t now_ns)
{
    table->now_ns = table->flushed_ns = now_ns;
    table->dirty = NULL;
    beast_layout_agree(table, atomic_load_explicit(&table->now, memory_order_relaxed), now_ns);
}
