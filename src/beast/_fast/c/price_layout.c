/* Look-ups in a layout: the readers' side of the index. */
#include <string.h>

#include "price_layout.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "names are compared as little-endian words");

#define PHI UINT64_C(0x9E3779B97F4A7C15)   /* 2^64 / golden ratio */
#define SQRT2 UINT64_C(0x6A09E667F3BCC909) /* 2^64 * (square root of 2 - 1) */

/* Both halves of the product: every bit of either comes to every bit of the hash. */
static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t beast_name_hash(const beast_name *name)
{
    uint64_t hash = name->word[0];
    if (name->len > 8)
        hash = mix(hash ^ PHI, name->word[1] ^ SQRT2) ^ name->word[2];
    return mix(hash, PHI);
}

uint64_t beast_place_hash(uint64_t hash, uint32_t exchange)
{
    return exchange ? mix(hash + exchange, SQRT2) : hash;
}

uint32_t beast_layout_exchange(const beast_layout *layout, const beast_name *exchange)
{
    if (exchange->len > BEAST_EXCHANGE_MAX)
        return 0;
    for (uint32_t i = 0; i < layout->n_exchanges; i++)
        if (layout->exchange[i][0] == exchange->word[0] && layout->exchange[i][1] == exchange->word[1])
            return i + 1;
    static const char consensus[sizeof layout->exchange[0]] = BEAST_CONSENSUS_NAME;
    return memcmp(exchange->word, consensus, sizeof consensus) == 0 ? BEAST_CONSENSUS : 0;
}

/* The bytes of word `i` that a text of `len` bytes reaches into. */
static inline uint64_t mask_of(uint32_t len, uint32_t i)
{
    if (len >= 8 * i + 8)
        return UINT64_MAX;
    return len <= 8 * i ? 0 : (UINT64_C(1) << 8 * (len - 8 * i)) - 1;
}

bool beast_slot_is_long(const beast_slot *slot, const beast_name *asset)
{
    uint64_t word[3];
    for (uint32_t i = 0; i < 3; i++)
        word[i] = atomic_load_explicit(&slot->text[i + 1], memory_order_relaxed);
    uint64_t differs = ((word[0] >> 16 | word[1] << 48) ^ asset->word[0]) & mask_of(asset->len, 0);
    differs |= ((word[1] >> 16 | word[2] << 48) ^ asset->word[1]) & mask_of(asset->len, 1);
    differs |= (word[2] >> 16 ^ asset->word[2]) & mask_of(asset->len, 2);
    return differs == 0;
}

/* The next slot whose tag is that of `hash`; *at goes on from where it stopped. */
static inline const beast_slot *next_candidate(const beast_layout *layout, uint64_t hash, uint32_t *at)
{
    for (;;) {
        uint64_t entry = layout->index[*at];
        if (entry == 0)
            return NULL;
        *at = (*at + 1) & layout->mask;
        if (entry >> 32 == hash >> 32)
            return &layout->slots[(uint32_t)entry - 1];
    }
}

const beast_slot *beast_layout_prefetch(const beast_layout *layout, uint64_t hash)
{
    /* The index is small and stays in the second-level cache; it is the slot that may be far away. */
    uint32_t at = (uint32_t)hash & layout->mask;
    const beast_slot *slot = next_candidate(layout, hash, &at);
    if (!slot)
        return NULL;
    __builtin_prefetch(slot);
    __builtin_prefetch((const uint8_t *)slot + BEAST_CACHE_LINE);
    __builtin_prefetch((const uint8_t *)slot + 2 * BEAST_CACHE_LINE);
    return slot;
}

const beast_slot *beast_layout_find(const beast_layout *layout, uint32_t exchange, const beast_name *asset,
                                    uint64_t place_hash, uint32_t *count)
{
    uint32_t at = (uint32_t)place_hash & layout->mask;
    const beast_slot *slot;
    if (asset->len - 1 >= BEAST_ASSET_MAX)
        return NULL;
    while ((slot = next_candidate(layout, place_hash, &at)) != NULL) {
        if (!beast_slot_is(slot, exchange, asset))
            continue;
        *count = exchange ? 1 : slot->siblings;
        return slot;
    }
    return NULL;
}

const beast_slot *beast_slot_next(const beast_slot *slot) { return slot + 1; }

uint32_t beast_slot_id(const beast_slot *slot) { return slot->id; }
