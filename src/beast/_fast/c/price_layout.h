/* The inside of the price table: slots, index and what its writer keeps besides. For price_*.c, and for what of it is
 * inlined into the short way to an answer. */
#ifndef BEAST_PRICE_LAYOUT_H
#define BEAST_PRICE_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "price_table.h"

/* Two words of a slot at once, where the processor can. What that might tear is not used: the sequence tells, as it does of
 * words. The thread sanitizer is shown the words. */
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define BEAST_COPIES_BLOCKS
#endif

#define BEAST_TEXT_WORDS (BEAST_SLOT_TEXT / 8)

/* The text is five constant pieces around the four that vary:
 *     head {"asset":"A","price":   body ,"currency":"C","exchange":"E","source":"E-   way ws","timestamp":"
 * A consensus' answer goes on with what its tail says, which lies behind the slot. */
#define BEAST_HEAD_MAX (sizeof "{\"asset\":\"\",\"price\":" - 1 + BEAST_ASSET_MAX)
#define BEAST_BODY_LEN_MAX                                                                        \
    (sizeof ",\"currency\":\"\",\"exchange\":\"\",\"source\":\"-" - 1 + BEAST_CURRENCY_MAX + 2 * BEAST_EXCHANGE_MAX)
#define BEAST_WAY_MAX (sizeof "median\",\"timestamp\":\"" - 1)

static_assert(BEAST_HEAD_MAX + BEAST_PRICE_MAX + BEAST_BODY_LEN_MAX + BEAST_WAY_MAX + BEAST_TIME_MAX + 1 <=
                  BEAST_SLOT_TEXT,
              "the longest names, price and time fit into a slot");

#define BEAST_WAY_SHIFT 4 /* in the byte of a slot's shape that holds the tier */

/* Where the asset's name stands in every slot: its bytes and those around them never change. */
#define BEAST_ASSET_AT (sizeof "{\"asset\":\"" - 1)

/* What isn't atomic never changes while the layout lives. The first line holds all that chooses a source. */
struct beast_slot {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t sequence; /* odd: being written */
    _Atomic uint32_t epoch;
    _Atomic int64_t received_ns;
    _Atomic int64_t fresh_ns;
    _Atomic uint32_t shape; /* that of beast_price */
    uint32_t id;
    uint16_t link;
    uint16_t siblings; /* in the first slot of an asset: how many it has; else 0 */
    uint8_t exchange;  /* number in this layout, from 1 */
    uint8_t price_at;
    uint16_t tailed;   /* a consensus: a beast_tail follows */
    _Atomic uint64_t text[BEAST_TEXT_WORDS];
};
static_assert(sizeof(struct beast_slot) == 4 * BEAST_CACHE_LINE, "a slot is four cache lines");

/* The rest of beast_slot_is for names of more than eight bytes. */
bool beast_slot_is_long(const beast_slot *slot, const beast_name *asset);

/* Whether it is the asset's at this exchange, or its first one when that is 0. The name is compared with the slot's text.
 * Its bytes never change, nor does anything else of their words, so that they need no lock; where the price begins tells
 * the name's length, of 1..BEAST_ASSET_MAX bytes. */
static inline bool beast_slot_is(const beast_slot *slot, uint32_t exchange, const beast_name *asset)
{
    static_assert(BEAST_ASSET_AT == 10 && BEAST_ASSET_AT + BEAST_ASSET_MAX < 32, "the name lies in words 1 to 3");
    uint32_t len = asset->len;
    if (!(exchange ? slot->exchange == exchange : slot->siblings > 0) ||
        slot->price_at != BEAST_HEAD_MAX - BEAST_ASSET_MAX + len)
        return false;
    if (__builtin_expect(len > 8, 0))
        return beast_slot_is_long(slot, asset);
    uint64_t first = atomic_load_explicit(&slot->text[1], memory_order_relaxed) >> 16;
    uint64_t second = atomic_load_explicit(&slot->text[2], memory_order_relaxed) << 48;
    return ((first | second) ^ asset->word[0]) << (-8 * len & 63) == 0;
}

static inline void beast_copy_word(uint8_t *to, const _Atomic uint64_t *from)
{
    uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
    memcpy(to, &word, sizeof word);
}

static inline void beast_copy_two_words(uint8_t *to, const _Atomic uint64_t *from)
{
#ifdef BEAST_COPIES_BLOCKS
    _mm_storeu_si128((__m128i *)(void *)to, _mm_load_si128((const __m128i *)(const void *)from));
#else
    beast_copy_word(to, from);
    beast_copy_word(to + 8, from + 1);
#endif
}

static inline void beast_copy_line(uint8_t *to, const _Atomic uint64_t *from)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        beast_copy_two_words(to + 16 * i, from + 2 * i);
}

/* Whole cache lines, as many as hold text: three words share the first one with the header, and there are always more. */
static inline void beast_copy_text(const beast_slot *slot, uint32_t len, uint8_t *text)
{
    static_assert(offsetof(struct beast_slot, text) % 16 == 8, "from the second word on, blocks are aligned");
    enum { FIRST = 24, SECOND = FIRST + BEAST_CACHE_LINE, THIRD = SECOND + BEAST_CACHE_LINE };
    beast_copy_word(text, slot->text);
    beast_copy_two_words(text + 8, slot->text + 1);
    beast_copy_line(text + FIRST, slot->text + FIRST / 8);
    if (__builtin_expect(len > SECOND, 1))
        beast_copy_line(text + SECOND, slot->text + SECOND / 8);
    if (__builtin_expect(len > THIRD, 0))
        beast_copy_line(text + THIRD, slot->text + THIRD / 8);
}

/* Of a slot with a price: the members that name the sources; else the error's. Under the slot's lock. */
typedef struct beast_tail {
    _Atomic uint64_t len;
    _Atomic uint64_t text[BEAST_TAIL_MAX / 8];
} beast_tail;
#define BEAST_TAIL_SLOTS ((sizeof(beast_tail) + sizeof(struct beast_slot) - 1) / sizeof(struct beast_slot))

/* What the writer keeps of an instrument, by its id: cold to readers. */
typedef struct beast_origin {
    beast_slot *slot; /* NULL: no such instrument */
    beast_slot *first; /* of the asset's; `siblings` says how many */
    int64_t time_ns;  /* of the trade held */
    double value;     /* of its price */
    double band;      /* negative: as the rules say */
    uint32_t weight;
    bool held;        /* a newer trade waits to be confirmed */
    bool by_rest;     /* REST told it */
    bool dirty;       /* a consensus that one of its sources has changed: in the table's list */
    struct beast_origin *consensus;  /* that this is a source of; NULL: none */
    struct beast_origin *next;       /* all of a layout's consensus */
    struct beast_origin *next_dirty;
    char currency[BEAST_CURRENCY_MAX + 1];
    uint8_t head_len, body_len;
    char head[BEAST_HEAD_MAX];
    char body[BEAST_BODY_LEN_MAX];
} beast_origin;

struct beast_layout {
    uint64_t *index; /* tag << 32 | slot + 1; 0: free. Open addressing, at most half full */
    uint32_t mask;
    beast_slot *slots; /* `n_slots` of them */
    uint32_t n_slots;
    beast_origin *first_consensus;
    uint32_t n_exchanges;
    uint64_t exchange[BEAST_EXCHANGES_MAX][2];
    beast_origin *origins; /* by instrument id */
};

/* beast_layout_prefetch as it is inlined into the loop over a batch. */
static inline const beast_slot *beast_layout_fetch(const beast_layout *layout, uint64_t hash)
{
    uint64_t entry = layout->index[(uint32_t)hash & layout->mask];
    if (__builtin_expect(entry == 0 || entry >> 32 != hash >> 32, 0))
        return beast_layout_prefetch(layout, hash);
    const beast_slot *slot = &layout->slots[(uint32_t)entry - 1];
    __builtin_prefetch(slot);
    __builtin_prefetch((const uint8_t *)slot + BEAST_CACHE_LINE);
    __builtin_prefetch((const uint8_t *)slot + 2 * BEAST_CACHE_LINE);
    return slot;
}

/* NULL with errno EINVAL or ENOMEM. Every slot holds its constant head, and no price. */
beast_layout *beast_layout_build(const beast_instrument *list, uint32_t n, uint32_t max_instruments);
void beast_layout_free(beast_layout *layout);

/* Under the slot's lock; a tail is only for the slot of a consensus, others have NULL. */
void beast_origin_publish(beast_origin *origin, const beast_quote *quote, const uint8_t *tail, uint32_t tail_len);
void beast_origin_forget(beast_origin *origin, const uint8_t *tail, uint32_t tail_len);

/* Computes one consensus, or all of a layout, which nobody need see yet. */
void beast_origin_agree(beast_price_table *table, const beast_layout *layout, beast_origin *origin, int64_t now_ns);
void beast_layout_agree(beast_price_table *table, const beast_layout *layout, int64_t now_ns);

/* What its writer goes by. */
static inline beast_freshness beast_table_freshness(const beast_price_table *table)
{
    const beast_price_rules *rules = beast_table_rules(table);
    return (beast_freshness){rules->ttl_ns, rules->linkless_ns};
}

/* The writer's own look at an instrument; NULL when there is none. */
beast_origin *beast_table_origin(const beast_price_table *table, uint32_t id);

/* Decimal text as JSON writes numbers, without sign and exponent. */
bool beast_is_decimal(const uint8_t *text, uint32_t len);

#endif
