#include "key_table.h"

#include <stdlib.h>
#include <string.h>

#include "key_index.h"
#include "key_table_inner.h"
#include "pages.h"

#define NS_PER_S INT64_C(1000000000)
#define KEYS_LIMIT (UINT32_C(1) << 31)

beast_key_table *beast_key_table_new(uint32_t max_keys)
{
    beast_key_table *table = max_keys > 0 && max_keys <= KEYS_LIMIT ? calloc(1, sizeof *table) : NULL;
    beast_key_index *index = table ? beast_index_new(0) : NULL;
    void *records = index ? beast_pages_new(max_keys * sizeof(beast_key)) : NULL;
    if (!records) {
        beast_index_free(index);
        free(table);
        return NULL;
    }
    table->records = records;
    table->max_keys = max_keys;
    atomic_init(&table->index, index);
    return table;
}

void beast_key_table_free(beast_key_table *table)
{
    if (!table)
        return;
    beast_pages_free(table->records, table->max_keys * sizeof(beast_key));
    beast_index_free(atomic_load_explicit(&table->index, memory_order_relaxed));
    free(table);
}

uint32_t beast_key_count(const beast_key_table *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}

uint32_t beast_key_number(const beast_key_table *table, const beast_key *key)
{
    return (uint32_t)(key - table->records);
}

beast_key *beast_key_by_number(const beast_key_table *table, uint32_t number)
{
    return number < atomic_load_explicit(&table->made, memory_order_acquire) ? &table->records[number] : NULL;
}

/* As beast_key_by_digest; *at is its place in the index. */
static inline beast_key *find_in(const beast_key_table *table, const beast_key_index *index, const uint8_t *digest,
                                 uint32_t *at)
{
    uint32_t tag = beast_index_tag(digest), number;
    *at = beast_index_home(index, tag);
    while ((number = beast_index_next(index, tag, at)) != UINT32_MAX) {
        beast_key *key = &table->records[number];
        if (memcmp(key->digest, digest, BEAST_SHA256_LEN) == 0)
            return key;
        *at = (*at + 1) & index->mask;
    }
    return NULL;
}

beast_key *beast_key_by_digest(const beast_key_table *table, const uint8_t digest[32])
{
    uint32_t at;
    return find_in(table, atomic_load_explicit(&table->index, memory_order_acquire), digest, &at);
}

/* Whoever remembers that a literal is unknown looks again. */
static void bump_version(beast_key_table *table)
{
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed);
    atomic_store_explicit(&table->version, version + 1, memory_order_release);
}

/* A larger index, or one without the places of dropped keys. */
static beast_status rebuild_index(beast_key_table *table, const beast_readers *readers)
{
    beast_key_index *old = atomic_load_explicit(&table->index, memory_order_relaxed);
    beast_key_index *index = beast_index_new(beast_key_count(table) + 1);
    if (!index)
        return BEAST_NO_MEMORY;
    beast_index_copy(index, old);
    atomic_store_explicit(&table->index, index, memory_order_seq_cst);
    beast_readers_wait(readers);
    beast_index_free(old);
    return BEAST_OK;
}

/* A record for a new key: of a dropped one, once no reader can hold it any more, else a new one. */
static beast_key *take_record(beast_key_table *table, const beast_readers *readers)
{
    if (table->reusable == 0 && table->dropped != 0) {
        beast_readers_wait(readers);
        table->reusable = table->dropped;
        table->dropped = 0;
    }
    if (table->reusable != 0) {
        beast_key *key = &table->records[table->reusable - 1];
        table->reusable = key->next;
        return key;
    }
    uint32_t made = atomic_load_explicit(&table->made, memory_order_relaxed);
    atomic_store_explicit(&table->made, made + 1, memory_order_release);
    return &table->records[made];
}

static void set_limits(beast_key *key, uint64_t id, uint32_t per_second, uint32_t burst, bool partner,
                       int64_t allowance)
{
    /* Rounded up: never more than the rate. */
    int64_t interval = per_second ? (NS_PER_S + per_second - 1) / per_second : 0;
    atomic_store_explicit(&key->id, id, memory_order_relaxed);
    atomic_store_explicit(&key->interval_ns, interval, memory_order_relaxed);
    atomic_store_explicit(&key->tolerance_ns, burst > 1 ? (burst - 1) * interval : 0, memory_order_relaxed);
    atomic_store_explicit(&key->allowance, allowance, memory_order_relaxed);
    atomic_store_explicit(&key->partner, partner, memory_order_relaxed);
}

beast_status beast_key_put(beast_key_table *table, const uint8_t digest[32], uint64_t id, uint32_t per_second,
                           uint32_t burst, bool partner, int64_t allowance, const beast_readers *readers)
{
    beast_key *key = beast_key_by_digest(table, digest);
    if (key) {
        set_limits(key, id, per_second, burst, partner, allowance);
        return BEAST_OK;
    }
    uint32_t count = beast_key_count(table);
    if (count == table->max_keys)
        return BEAST_FULL;
    if (beast_index_is_full(atomic_load_explicit(&table->index, memory_order_relaxed))) {
        beast_status status = rebuild_index(table, readers);
        if (status != BEAST_OK)
            return status;
    }
    key = take_record(table, readers);
    memcpy(key->digest, digest, BEAST_SHA256_LEN);
    set_limits(key, id, per_second, burst, partner, allowance);
    atomic_store_explicit(&key->arrival_ns, 0, memory_order_relaxed);
    uint32_t generation = atomic_load_explicit(&key->generation, memory_order_relaxed);
    atomic_store_explicit(&key->generation, generation + 1, memory_order_relaxed);
    /* Whoever sees the record live sees its generation. */
    atomic_store_explicit(&key->live, 1, memory_order_release);
    beast_index_add(atomic_load_explicit(&table->index, memory_order_relaxed), beast_index_tag(digest),
                    beast_key_number(table, key));
    atomic_store_explicit(&table->count, count + 1, memory_order_relaxed);
    bump_version(table);
    return BEAST_OK;
}

beast_status beast_key_drop(beast_key_table *table, const uint8_t digest[32], const beast_readers *readers)
{
    (void)readers; /* the next key that needs the record waits, once for all dropped till then */
    uint32_t at;
    beast_key_index *index = atomic_load_explicit(&table->index, memory_order_relaxed);
    beast_key *key = find_in(table, index, digest, &at);
    if (!key)
        return BEAST_NOT_FOUND;
    atomic_store_explicit(&key->live, 0, memory_order_release);
    beast_index_remove(index, at);
    key->next = table->dropped;
    table->dropped = beast_key_number(table, key) + 1;
    atomic_store_explicit(&table->count, beast_key_count(table) - 1, memory_order_relaxed);
    bump_version(table);
    return BEAST_OK;
}
