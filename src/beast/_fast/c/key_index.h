/* Digest -> record number: open addressing over 8-byte entries, read while its one writer adds and removes. */
#ifndef BEAST_KEY_INDEX_H
#define BEAST_KEY_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#define BEAST_INDEX_FREE UINT64_C(0)
#define BEAST_INDEX_GONE UINT64_C(0xFFFFFFFF) /* was taken: look-ups go on behind it, adding may use it again */

typedef struct beast_key_index {
    uint32_t mask, shift;
    uint32_t used;           /* entries not free; writer only */
    _Atomic uint64_t *entry; /* tag << 32 | number + 1 */
} beast_key_index;

/* Four bytes of the digest. The upper bits choose the place, so that entries lie in the order of their tags and a
 * larger index is filled from a smaller one in two straight walks, without a look at the records. */
static inline uint32_t beast_index_tag(const uint8_t digest[BEAST_SHA256_LEN])
{
    return (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3];
}

static inline uint32_t beast_index_home(const beast_key_index *index, uint32_t tag) { return tag >> index->shift; }

/* The number of the next record whose tag is `tag`, or UINT32_MAX; *at is where it was found, or where to go on. */
static inline uint32_t beast_index_next(const beast_key_index *index, uint32_t tag, uint32_t *at)
{
    for (;; *at = (*at + 1) & index->mask) {
        uint64_t entry = atomic_load_explicit(&index->entry[*at], memory_order_acquire);
        if (entry == BEAST_INDEX_FREE)
            return UINT32_MAX;
        if (entry >> 32 == tag && (uint32_t)entry != BEAST_INDEX_GONE)
            return (uint32_t)entry - 1;
    }
}

/* At most half full with that many keys; NULL without memory. */
beast_key_index *beast_index_new(uint32_t keys);
void beast_index_free(beast_key_index *index);
/* True when one more entry needs a new index first. */
bool beast_index_is_full(const beast_key_index *index);
void beast_index_add(beast_key_index *index, uint32_t tag, uint32_t number);
void beast_index_remove(beast_key_index *index, uint32_t at);
/* Adds everything that `from` holds. */
void beast_index_copy(beast_key_index *index, const beast_key_index *from);

#endif
