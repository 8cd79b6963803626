/* One lane's memory of the key literals it has seen: what it saves is the SHA-256 and the shared index. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "key_table_inner.h"

#define SETS 4096
#define WAYS 2
#define LITERAL_MAX 80 /* a longer one is hashed each time */

typedef enum entry_state { EMPTY, KNOWN, UNKNOWN, UNRESOLVED } entry_state;

/* Literals of up to 48 bytes touch one cache line. */
typedef struct entry {
    _Alignas(BEAST_CACHE_LINE) uint64_t stamp; /* KNOWN: the record's generation; UNKNOWN: the table's version */
    uint32_t number;
    uint16_t tag; /* compared first: the time that comparing bytes takes tells nothing about another's key */
    uint8_t len;
    uint8_t state;
    uint8_t literal[LITERAL_MAX];
    uint8_t digest[BEAST_SHA256_LEN];
} entry;
static_assert(sizeof(entry) == 2 * BEAST_CACHE_LINE, "an entry is two cache lines");

struct beast_key_cache {
    entry set[SETS][WAYS];
    uint32_t turn; /* whose way is taken next */
};

beast_key_cache *beast_key_cache_new(void)
{
    beast_key_cache *cache = aligned_alloc(_Alignof(beast_key_cache), sizeof *cache);
    return cache ? memset(cache, 0, sizeof *cache) : NULL;
}

void beast_key_cache_free(beast_key_cache *cache) { free(cache); }

static inline uint64_t load_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t beast_key_hash(beast_slice literal)
{
    const uint64_t k0 = UINT64_C(0xa0761d6478bd642f), k1 = UINT64_C(0xe7037ed1a0b428db);
    uint64_t hash = literal.len;
    uint8_t ends[16] = {0};
    const uint8_t *last = ends;
    if (!literal.ptr || literal.len > BEAST_KEY_MAX)
        return 0;
    for (uint32_t i = 0; i + 16 < literal.len; i += 16)
        hash = mix(load_word(literal.ptr + i) ^ k0, load_word(literal.ptr + i + 8) ^ hash);
    if (literal.len >= 16)
        last = literal.ptr + literal.len - 16; /* overlaps what was taken already */
    else
        memcpy(ends, literal.ptr, literal.len);
    hash = mix(load_word(last) ^ k0, load_word(last + 8) ^ hash);
    return mix(hash ^ k1, k0);
}

void beast_key_prefetch(const beast_key_cache *cache, uint64_t hash)
{
    __builtin_prefetch(&cache->set[hash % SETS][0]);
    __builtin_prefetch(&cache->set[hash % SETS][1]);
}

static inline entry *recall(beast_key_cache *cache, beast_slice literal, uint64_t hash)
{
    for (int way = 0; way < WAYS; way++) {
        entry *seen = &cache->set[hash % SETS][way];
        if (seen->tag == (uint16_t)(hash >> 48) && seen->len == literal.len && seen->state != EMPTY &&
            memcmp(seen->literal, literal.ptr, literal.len) == 0)
            return seen;
    }
    return NULL;
}

/* Takes a place for a literal not seen before, and its digest. */
static entry *remember(beast_key_cache *cache, beast_slice literal, uint64_t hash)
{
    entry *seen = &cache->set[hash % SETS][cache->turn++ % WAYS];
    beast_sha256(literal.ptr, literal.len, seen->digest);
    memcpy(seen->literal, literal.ptr, literal.len);
    seen->len = (uint8_t)literal.len;
    seen->tag = (uint16_t)(hash >> 48);
    seen->state = UNRESOLVED;
    return seen;
}

/* The live record of a digest, or NULL. */
static beast_key *look_up(const beast_key_table *table, const uint8_t *digest)
{
    beast_key *key = beast_key_by_digest(table, digest);
    return key && atomic_load_explicit(&key->live, memory_order_acquire) ? key : NULL;
}

static beast_key *resolve(entry *seen, const beast_key_table *table)
{
    /* Read before looking: a key added meanwhile makes the answer out of date, not wrong for good. */
    uint64_t version = atomic_load_explicit(&table->version, memory_order_acquire);
    beast_key *key = look_up(table, seen->digest);
    seen->state = key ? KNOWN : UNKNOWN;
    seen->stamp = key ? atomic_load_explicit(&key->generation, memory_order_relaxed) : version;
    seen->number = key ? beast_key_number(table, key) : 0;
    return key;
}

static inline bool can_be_key(beast_slice literal)
{
    return literal.ptr && literal.len > 0 && literal.len <= BEAST_KEY_MAX;
}

void beast_key_prepare(beast_key_cache *cache, const beast_key_table *table, beast_slice literal, uint64_t hash)
{
    if (!can_be_key(literal) || literal.len > LITERAL_MAX)
        return;
    entry *seen = recall(cache, literal, hash);
    if (seen && seen->state == KNOWN) {
        __builtin_prefetch(&table->records[seen->number]);
    } else if (!seen) {
        seen = remember(cache, literal, hash);
        const beast_key_index *index = atomic_load_explicit(&table->index, memory_order_acquire);
        __builtin_prefetch((const void *)&index->entry[beast_index_home(index, beast_index_tag(seen->digest))]);
    }
}

beast_key *beast_key_find(beast_key_cache *cache, const beast_key_table *table, beast_slice literal, uint64_t hash)
{
    if (!can_be_key(literal))
        return NULL;
    if (literal.len > LITERAL_MAX) {
        uint8_t digest[BEAST_SHA256_LEN];
        beast_sha256(literal.ptr, literal.len, digest);
        return look_up(table, digest);
    }
    entry *seen = recall(cache, literal, hash);
    if (!seen)
        return resolve(remember(cache, literal, hash), table);
    if (seen->state == KNOWN) {
        beast_key *key = &table->records[seen->number];
        /* A record that was dropped, or has become another key's, is not this literal's any more. */
        if (atomic_load_explicit(&key->live, memory_order_acquire) &&
            atomic_load_explicit(&key->generation, memory_order_relaxed) == seen->stamp)
            return key;
    } else if (seen->state == UNKNOWN &&
               seen->stamp == atomic_load_explicit(&table->version, memory_order_acquire)) {
        return NULL;
    }
    return resolve(seen, table);
}
