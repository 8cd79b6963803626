#include "key_index.h"

#include <stdlib.h>

#include "pages.h"

beast_key_index *beast_index_new(uint32_t keys)
{
    uint32_t bits = 4;
    while (bits < 32 && UINT64_C(1) << bits < 2 * (uint64_t)keys)
        bits++;
    size_t capacity = (size_t)1 << bits;
    beast_key_index *index = calloc(1, sizeof *index);
    if (!index)
        return NULL;
    index->entry = beast_pages_new(capacity * sizeof index->entry[0]);
    if (!index->entry) {
        free(index);
        return NULL;
    }
    index->mask = (uint32_t)(capacity - 1);
    index->shift = 32 - bits;
    return index;
}

void beast_index_free(beast_key_index *index)
{
    if (!index)
        return;
    beast_pages_free(index->entry, ((size_t)index->mask + 1) * sizeof index->entry[0]);
    free(index);
}

bool beast_index_is_full(const beast_key_index *index)
{
    return (uint64_t)index->used * 10 >= ((uint64_t)index->mask + 1) * 7;
}

void beast_index_add(beast_key_index *index, uint32_t tag, uint32_t number)
{
    uint32_t at = beast_index_home(index, tag);
    uint64_t entry;
    while ((entry = atomic_load_explicit(&index->entry[at], memory_order_relaxed)) != BEAST_INDEX_FREE &&
           (uint32_t)entry != BEAST_INDEX_GONE)
        at = (at + 1) & index->mask;
    index->used += entry == BEAST_INDEX_FREE;
    /* Publishes the record. */
    atomic_store_explicit(&index->entry[at], (uint64_t)tag << 32 | (number + 1), memory_order_release);
}

void beast_index_remove(beast_key_index *index, uint32_t at)
{
    atomic_store_explicit(&index->entry[at], BEAST_INDEX_GONE, memory_order_release);
}

void beast_index_copy(beast_key_index *index, const beast_key_index *from)
{
    for (size_t at = 0; at <= from->mask; at++) {
        uint64_t entry = atomic_load_explicit(&from->entry[at], memory_order_relaxed);
        if (entry != BEAST_INDEX_FREE && (uint32_t)entry != BEAST_INDEX_GONE)
            beast_index_add(index, (uint32_t)(entry >> 32), (uint32_t)entry - 1);
    }
}
