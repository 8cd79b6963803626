#include "key_table.h"

#include <stdlib.h>
#include <string.h>

#include "key_table_inner.h"
#include "pages.h"

#define NS_PER_S INT64_C(1000000000)
#define KEYS_LIMIT (UINT32_C(1) << 31)
#define SPARE_RECORDS (UINT32_C(1) << 16)

beast_key_table *beast_key_table_new(uint32_t max_keys)
{
    if (max_keys == 0 || max_keys > KEYS_LIMIT)
        return NULL;
    beast_key_table *table = aligned_alloc(_Alignof(beast_key_table), sizeof *table);
    if (!table)
        return NULL;
    memset(table, 0, sizeof *table);
    table->max_keys = max_keys;
    table->max_records = max_keys + (max_keys < SPARE_RECORDS ? max_keys : SPARE_RECORDS);
    table->records = beast_pages_new(table->max_records * sizeof table->records[0]);
    table->networks = beast_pages_new(table->max_records * sizeof table->networks[0]);
    atomic_init(&table->index, beast_index_new(0));
    atomic_init(&table->terms.share, 1);
    atomic_init(&table->terms.nodes, 1);
    if (!table->records || !table->networks || !atomic_load_explicit(&table->index, memory_order_relaxed)) {
        beast_key_table_free(table);
        return NULL;
    }
    return table;
}

void beast_key_table_free(beast_key_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; table->networks && i < table->made; i++)
        free(atomic_load_explicit(&table->networks[i], memory_order_relaxed));
    beast_pages_free(table->records, table->max_records * sizeof table->records[0]);
    beast_pages_free(table->networks, table->max_records * sizeof table->networks[0]);
    beast_index_free(atomic_load_explicit(&table->index, memory_order_relaxed));
    free(table);
}

beast_key_terms *beast_key_terms_of(beast_key_table *table) { return &table->terms; }

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

static bool is_settled(const beast_key *key)
{
    return beast_unsettled_of(atomic_load_explicit(&key->balance, memory_order_acquire)) == 0;
}

/* A record for a new key: of a dropped one, once no reader can hold it any more and it is in no list of touched ones, else
 * a new one. NULL: there is none. */
static beast_key *take_record(beast_key_table *table, const beast_readers *readers)
{
    if (table->reusable == 0 && table->dropped != 0) {
        beast_readers_wait(readers);
        table->reusable = table->dropped;
        table->dropped = 0;
    }
    while (table->reusable != 0) {
        beast_key *key = &table->records[table->reusable - 1];
        table->reusable = key->next;
        if (is_settled(key)) {
            beast_key_forget_networks(table, key);
            return key;
        }
        key->next = table->dropped;
        table->dropped = beast_key_number(table, key) + 1;
    }
    uint32_t made = atomic_load_explicit(&table->made, memory_order_relaxed);
    if (made == table->max_records)
        return NULL;
    atomic_store_explicit(&table->made, made + 1, memory_order_release);
    return &table->records[made];
}

static void set_limits(beast_key_table *table, beast_key *key, const beast_key_limits *limits, bool fresh)
{
    /* Rounded up: never more than the rate. */
    int64_t interval = limits->per_second ? (NS_PER_S + limits->per_second - 1) / limits->per_second : 0;
    int64_t cap = limits->cap < BEAST_NO_CAP && !(limits->flags & BEAST_KEY_PARTNER) ? limits->cap : BEAST_NO_CAP;
    uint32_t old = atomic_load_explicit(&key->flags, memory_order_relaxed);
    bool leasing = atomic_load_explicit(&table->terms.leasing, memory_order_relaxed);
    int64_t seen = atomic_load_explicit(&key->seen, memory_order_relaxed);
    int64_t untold = atomic_load_explicit(&key->given, memory_order_relaxed) -
                     beast_allowance_of(atomic_load_explicit(&key->balance, memory_order_relaxed));
    fresh = fresh || old >> BEAST_KEY_MONTH_AT != limits->month || !leasing ||
            (old & BEAST_KEY_FLOOR && untold > limits->lease);
    /* What this node has not told yet is among those known of: it is subtracted once. What it has answered alone, before
     * there was anybody to tell, is told with the rest that is known. */
    if (fresh)
        seen = limits->used;
    else if (limits->used - (untold > 0 ? untold : 0) > seen)
        seen = limits->used - (untold > 0 ? untold : 0);
    atomic_store_explicit(&key->id, limits->id, memory_order_relaxed);
    atomic_store_explicit(&key->quota_id, limits->quota_id, memory_order_relaxed);
    atomic_store_explicit(&key->interval_ns, interval, memory_order_relaxed);
    atomic_store_explicit(&key->tolerance_ns, limits->burst > 1 ? (limits->burst - 1) * interval : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&key->lease, limits->lease < BEAST_LEASE_MAX ? limits->lease : BEAST_LEASE_MAX,
                          memory_order_relaxed);
    atomic_store_explicit(&key->cap, cap, memory_order_relaxed);
    atomic_store_explicit(&key->seen, seen, memory_order_relaxed);
    atomic_store_explicit(&key->flags,
                          limits->flags | (old & BEAST_KEY_PARTIAL) | (fresh ? BEAST_KEY_FLOOR : old & BEAST_KEY_FLOOR) |
                              limits->month << BEAST_KEY_MONTH_AT,
                          memory_order_relaxed);
    if (beast_key_grant(table, key, 0, fresh ? untold : 0))
        beast_key_touch(table, &table->own, key);
}

beast_status beast_key_set(beast_key_table *table, const uint8_t digest[32], const beast_key_limits *limits,
                           const beast_readers *readers)
{
    beast_key *key = beast_key_by_digest(table, digest);
    if (key) {
        set_limits(table, key, limits, false);
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
    if (!key)
        return BEAST_FULL;
    memcpy(key->digest, digest, BEAST_SHA256_LEN);
    set_limits(table, key, limits, true);
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

beast_status beast_key_put(beast_key_table *table, const uint8_t digest[32], uint64_t id, uint32_t per_second,
                           uint32_t burst, bool partner, int64_t allowance, const beast_readers *readers)
{
    const beast_key_limits limits = {
        .id = id,
        .quota_id = id,
        .per_second = per_second,
        .burst = burst,
        .flags = partner ? BEAST_KEY_PARTNER : 0,
        .cap = allowance,
    };
    return beast_key_set(table, digest, &limits, readers);
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
