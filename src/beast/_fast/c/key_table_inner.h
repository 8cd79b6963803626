/* The inside of the key table, for key_*.c only. */
#ifndef BEAST_KEY_TABLE_INNER_H
#define BEAST_KEY_TABLE_INNER_H

#include "key_index.h"
#include "key_table.h"

/* One lane's list of touched records. A record is in one list, or in the writer's hands, while it has unsettled
 * admissions: whoever makes them more than none puts it there. */
typedef struct beast_key_list {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t first; /* number + 1; the lane adds, the writer takes all */
    uint32_t taken;                                    /* the writer's: what it took and has not looked at yet */
} beast_key_list;

/* Never changed once readers can see it. */
typedef struct beast_key_networks {
    uint32_t n;
    struct {
        uint64_t high, low, mask_high, mask_low;
    } network[];
} beast_key_networks;

struct beast_key_table {
    beast_key *records; /* max_keys of them reserved; memory comes as they fill */
    uint32_t max_keys;
    _Atomic(beast_key_index *) index;
    _Atomic uint64_t version; /* grows with every key added or dropped */
    _Atomic uint32_t count;   /* keys */
    _Atomic uint32_t made;    /* records ever used */
    uint32_t reusable;        /* number + 1 of the first dropped record that no reader holds; 0: none */
    uint32_t dropped;         /* the same of those that a reader may still hold */
    uint32_t max_records;     /* more than max_keys: a dropped one that is not settled yet can't be reused */
    _Atomic(beast_key_networks *) *networks; /* by the record's number; NULL: none */
    _Alignas(BEAST_CACHE_LINE) beast_key_terms terms;
    beast_key_list own; /* touched by the writer itself */
};

beast_key_list *beast_key_list_of(beast_key_cache *cache);

static inline void beast_key_touch(const beast_key_table *table, beast_key_list *list, beast_key *key)
{
    uint32_t number = (uint32_t)(key - table->records) + 1;
    uint32_t first = atomic_load_explicit(&list->first, memory_order_relaxed);
    do
        atomic_store_explicit(&key->touched, first, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&list->first, &first, number, memory_order_release,
                                                  memory_order_relaxed));
}

/* Grants the key an allowance of what is left of its cap, `settled` admissions and `told` answers being known to the
 * cluster from now on. True: it has become the writer's to touch. */
bool beast_key_grant(const beast_key_table *table, beast_key *key, uint32_t settled, int64_t told);
void beast_key_forget_networks(beast_key_table *table, const beast_key *key);

#endif
