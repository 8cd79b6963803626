/* One lane's memory of the key literals it has seen: what it saves is the SHA-256 and the shared index. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "key_recall.h"

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

static inline uint64_t hash_block(const uint8_t block[16], uint32_t len)
{
    const uint64_t k0 = UINT64_C(0xa0761d6478bd642f), k1 = UINT64_C(0xe7037ed1a0b428db);
    return mix(load_word(block) ^ k0, load_word(block + 8) ^ len ^ k1);
}

static uint64_t __attribute__((noinline)) hash_short(beast_slice literal)
{
    uint8_t block[16] = {0};
    memcpy(block, literal.ptr, literal.len);
    return hash_block(block, literal.len);
}

/* Of the last 16 bytes, where keys differ. Literals made to collide gain nothing: unknown ones never take a known one's
 * place. */
static inline uint64_t hash_of(beast_slice literal)
{
    return literal.len < 16 ? hash_short(literal) : hash_block(literal.ptr + literal.len - 16, literal.len);
}

/* Of hash and length; compared first: an entry with another label is another literal's. */
static inline uint32_t label_of(uint64_t hash, uint32_t len) { return (uint32_t)(hash >> 40 << 8) | len; }

bool beast_key_prefetch(beast_key_cache *cache, beast_slice literal, beast_key_search *search)
{
    search->hashed = false;
    search->record = NULL;
    if (!literal.ptr || literal.len - 1 >= BEAST_KEY_MAX) {
        search->literal.ptr = NULL;
        return false;
    }
    uint64_t hash = hash_of(literal);
    search->literal = literal;
    search->set = cache->set[hash % BEAST_KEY_SETS];
    search->label = label_of(hash, literal.len);
    __builtin_prefetch(&search->set[0]);
    __builtin_prefetch(&search->set[1]);
    return true;
}

typedef struct beast_key_entry entry;

static inline bool is_known(const entry *seen) { return seen->label && seen->number != BEAST_KEY_NOBODY; }

bool beast_key_recall(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search)
{
    (void)cache; /* the search knows where in it to look */
    return search->literal.ptr && beast_key_recall_inline(table, search);
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
static entry *take_place(beast_key_cache *cache, entry *set, bool known)
{
    uint32_t turn = ++cache->turn;

    for (uint32_t way = 0; way < BEAST_KEY_WAYS; way++)
        if (!is_known(&set[(turn + way) % BEAST_KEY_WAYS]))
            return &set[(turn + way) % BEAST_KEY_WAYS];
    return known ? &set[turn % BEAST_KEY_WAYS] : NULL;
}

static void remember(beast_key_cache *cache, const beast_key_search *search, entry *seen, uint64_t stamp,
                     uint32_t number)
{
    if (search->literal.len > BEAST_KEY_LITERAL_MAX)
        return;
    entry *place = seen ? seen : take_place(cache, search->set, number != BEAST_KEY_NOBODY);
    if (!place)
        return;
    place->stamp = stamp;
    place->number = number;
    place->label = search->label;
    memcpy(place->literal, search->literal.ptr, search->literal.len);
}

/* By the shared table. */
static beast_key *resolve(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search, entry *seen)
{
    /* Read before looking: a key added meanwhile makes the answer out of date, not wrong for good. */
    uint64_t version = atomic_load_explicit(&table->version, memory_order_acquire);

    if (!search->hashed)
        beast_sha256(search->literal.ptr, search->literal.len, search->digest);
    beast_key *key = beast_key_by_digest(table, search->digest);
    if (key && atomic_load_explicit(&key->live, memory_order_acquire)) {
        uint32_t generation = atomic_load_explicit(&key->generation, memory_order_relaxed);
        remember(cache, search, seen, generation, beast_key_number(table, key));
        return key;
    }
    remember(cache, search, seen, version, BEAST_KEY_NOBODY);
    return NULL;
}

beast_key *beast_key_find(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search)
{
    if (!search->literal.ptr)
        return NULL;
    /* Also after it was recalled: others of its batch may have taken its place since. */
    entry *seen = beast_key_recall_inline(table, search);
    beast_key *key = beast_key_recalled(search);
    if (key)
        return key;
    if (seen && seen->number == BEAST_KEY_NOBODY &&
        seen->stamp == atomic_load_explicit(&table->version, memory_order_acquire))
        return NULL;
    return resolve(cache, table, search, seen);
}
