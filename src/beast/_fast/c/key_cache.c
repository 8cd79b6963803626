/* One lane's memory of the key literals it has seen: what it saves is the SHA-256 and the shared index. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "key_table_inner.h"

#define SETS 4096
#define WAYS 2
#define LITERAL_MAX 112 /* a longer one is hashed each time */

#define NOBODY UINT32_MAX

/* Literals of up to 48 bytes touch one cache line. */
struct beast_key_entry {
    _Alignas(BEAST_CACHE_LINE) uint64_t stamp; /* the record's generation; of NOBODY's literal: the table's version */
    uint32_t number; /* of the record; NOBODY: no key at that version */
    uint32_t label;  /* see label_of; 0: the entry is free */
    uint8_t literal[LITERAL_MAX];
};
typedef struct beast_key_entry entry;
static_assert(sizeof(entry) == 2 * BEAST_CACHE_LINE, "an entry is two cache lines");

struct beast_key_cache {
    entry set[SETS][WAYS];
    uint32_t turn; /* whose way is taken next; also counts all that were taken */
    beast_key_list touched;
};

beast_key_list *beast_key_list_of(beast_key_cache *cache) { return &cache->touched; }

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

/* Of the first and the last 16 bytes, where keys differ. Literals made to collide gain nothing: unknown ones never
 * take a known one's place. */
static inline uint64_t hash_of(beast_slice literal)
{
    const uint64_t k0 = UINT64_C(0xa0761d6478bd642f), k1 = UINT64_C(0xe7037ed1a0b428db);
    const uint8_t *first = literal.ptr, *last = literal.ptr + literal.len - 16;
    uint8_t both[16] = {0};
    if (literal.len < 16)
        first = last = memcpy(both, literal.ptr, literal.len);
    uint64_t hash = mix(load_word(first) ^ k0, load_word(first + 8) ^ literal.len ^ k1);
    return mix(load_word(last) ^ hash, load_word(last + 8) ^ k0);
}

void beast_key_prefetch(const beast_key_cache *cache, beast_slice literal, beast_key_search *search)
{
    search->hashed = false;
    search->literal.ptr = NULL;
    if (!literal.ptr || literal.len - 1 >= BEAST_KEY_MAX)
        return;
    search->literal = literal;
    search->turn = cache->turn - 1; /* not asked yet */
    search->hash = hash_of(literal);
    __builtin_prefetch(&cache->set[search->hash % SETS][0]);
    __builtin_prefetch(&cache->set[search->hash % SETS][1]);
}

static inline bool is_known(const entry *seen) { return seen->label && seen->number != NOBODY; }

/* Of hash and length; compared first: the time that comparing bytes takes tells nothing about another's key. */
static inline uint32_t label_of(const beast_key_search *search)
{
    return (uint32_t)(search->hash >> 40 << 8) | search->literal.len;
}

static inline entry *recall(beast_key_cache *cache, const beast_key_search *search)
{
    entry *set = cache->set[search->hash % SETS];
    uint32_t label = label_of(search);
    for (int way = 0; way < WAYS; way++)
        if (set[way].label == label && memcmp(set[way].literal, search->literal.ptr, search->literal.len) == 0)
            return &set[way];
    return NULL;
}

bool beast_key_recall(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search)
{
    search->turn = cache->turn;
    search->entry = search->literal.ptr ? recall(cache, search) : NULL;
    if (search->entry && search->entry->number != NOBODY)
        __builtin_prefetch(&table->records[search->entry->number]);
    return search->entry != NULL;
}

void beast_key_digest(const beast_key_table *table, beast_key_search *search)
{
    const beast_key_index *index = atomic_load_explicit(&table->index, memory_order_acquire);

    beast_sha256(search->literal.ptr, search->literal.len, search->digest);
    search->hashed = true;
    __builtin_prefetch((const void *)&index->entry[beast_index_home(index, beast_index_tag(search->digest))]);
}

void beast_key_prefetch_record(const beast_key_table *table, const beast_key_search *search)
{
    if (!search->hashed)
        return;
    const beast_key_index *index = atomic_load_explicit(&table->index, memory_order_acquire);
    uint32_t tag = beast_index_tag(search->digest), at = beast_index_home(index, tag);
    uint32_t number = beast_index_next(index, tag, &at);
    if (number == UINT32_MAX)
        return;
    __builtin_prefetch(&table->records[number]);
    __builtin_prefetch(table->records[number].digest);
}

/* An unknown literal never takes the place of a known one: a flood of them pushes nobody out. */
static entry *take_place(beast_key_cache *cache, uint64_t hash, bool known)
{
    entry *set = cache->set[hash % SETS];
    uint32_t turn = ++cache->turn;

    for (uint32_t way = 0; way < WAYS; way++)
        if (!is_known(&set[(turn + way) % WAYS]))
            return &set[(turn + way) % WAYS];
    return known ? &set[turn % WAYS] : NULL;
}

static void remember(beast_key_cache *cache, const beast_key_search *search, uint64_t stamp, uint32_t number)
{
    if (search->literal.len > LITERAL_MAX)
        return;
    entry *place = search->entry ? search->entry : take_place(cache, search->hash, number != NOBODY);
    if (!place)
        return;
    place->stamp = stamp;
    place->number = number;
    place->label = label_of(search);
    memcpy(place->literal, search->literal.ptr, search->literal.len);
}

/* By the shared table. */
static beast_key *resolve(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search)
{
    /* Read before looking: a key added meanwhile makes the answer out of date, not wrong for good. */
    uint64_t version = atomic_load_explicit(&table->version, memory_order_acquire);

    if (!search->hashed)
        beast_sha256(search->literal.ptr, search->literal.len, search->digest);
    beast_key *key = beast_key_by_digest(table, search->digest);
    if (key && atomic_load_explicit(&key->live, memory_order_acquire)) {
        uint32_t generation = atomic_load_explicit(&key->generation, memory_order_relaxed);
        remember(cache, search, generation, beast_key_number(table, key));
        return key;
    }
    remember(cache, search, version, NOBODY);
    return NULL;
}

beast_key *beast_key_find(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search)
{
    if (!search->literal.ptr)
        return NULL;
    if (search->turn != cache->turn)
        beast_key_recall(cache, table, search);
    entry *seen = search->entry;
    if (seen && seen->number != NOBODY) {
        beast_key *key = &table->records[seen->number];
        /* A record that was dropped, or has become another key's, is not this literal's any more. */
        if (atomic_load_explicit(&key->live, memory_order_acquire) &&
            atomic_load_explicit(&key->generation, memory_order_relaxed) == seen->stamp)
            return key;
    } else if (seen && seen->stamp == atomic_load_explicit(&table->version, memory_order_acquire)) {
        return NULL;
    }
    return resolve(cache, table, search);
}
