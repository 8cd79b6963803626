/* One lane's memory of the key literals it has seen, as far as asking it is inlined into the loop over a batch. For
 * key_cache.c and batch.c. */
#ifndef BEAST_KEY_RECALL_H
#define BEAST_KEY_RECALL_H

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "key_table_inner.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BEAST_KEY_SETS 4096
#define BEAST_KEY_WAYS 2
#define BEAST_KEY_LITERAL_MAX 112 /* a longer one is hashed each time */

#define BEAST_KEY_NOBODY UINT32_MAX

/* Literals of up to 48 bytes touch one cache line. */
struct beast_key_entry {
    _Alignas(BEAST_CACHE_LINE) uint64_t stamp; /* the record's generation; of BEAST_KEY_NOBODY's literal: the table's version */
    uint32_t number; /* of the record; BEAST_KEY_NOBODY: no key at that version */
    uint32_t label;  /* see label_of; 0: the entry is free */
    uint8_t literal[BEAST_KEY_LITERAL_MAX];
};
typedef struct beast_key_entry beast_key_entry;
static_assert(sizeof(beast_key_entry) == 2 * BEAST_CACHE_LINE, "an entry is two cache lines");
static_assert(offsetof(beast_key_entry, literal) % 16 == 0, "its literal is compared by sixteen bytes");

struct beast_key_cache {
    beast_key_entry set[BEAST_KEY_SETS][BEAST_KEY_WAYS];
    uint32_t turn; /* whose way is taken next */
    beast_key_list touched;
};

#if defined(__SSE2__)
static inline __m128i beast_load_block(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
#endif

/* All bytes of a literal as long as the entry's. Where they differ tells nothing by the time it takes, for literals of the
 * length that Beast gives its keys: three blocks, of which two overlap. */
static inline bool beast_key_same_literal(const beast_key_entry *seen, beast_slice literal)
{
#if defined(__SSE2__)
    const uint8_t *a = literal.ptr, *b = seen->literal;
    if (__builtin_expect(literal.len - 33 < 16, 1)) {
        __m128i same = _mm_cmpeq_epi8(beast_load_block(a), *(const __m128i *)(const void *)b);
        same = _mm_and_si128(same, _mm_cmpeq_epi8(beast_load_block(a + 16), *(const __m128i *)(const void *)(b + 16)));
        a += literal.len - 16;
        b += literal.len - 16;
        same = _mm_and_si128(same, _mm_cmpeq_epi8(beast_load_block(a), beast_load_block(b)));
        return _mm_movemask_epi8(same) == 0xFFFF;
    }
#endif
    return memcmp(seen->literal, literal.ptr, literal.len) == 0;
}

static inline beast_key_entry *beast_key_entry_of(const beast_key_search *search)
{
    beast_key_entry *set = search->set;
    for (int way = 0; way < BEAST_KEY_WAYS; way++)
        if (set[way].label == search->label && beast_key_same_literal(&set[way], search->literal))
            return &set[way];
    return NULL;
}

/* beast_key_recall, and the entry; NULL: the lane has not seen the literal. */
static inline beast_key_entry *beast_key_recall_inline(const beast_key_table *table, beast_key_search *search)
{
    beast_key_entry *seen = beast_key_entry_of(search);
    if (seen && seen->number != BEAST_KEY_NOBODY) {
        search->record = &table->records[seen->number];
        search->generation = (uint32_t)seen->stamp;
        __builtin_prefetch(search->record);
    }
    return seen;
}

#endif
