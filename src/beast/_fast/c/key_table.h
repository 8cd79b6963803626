/* API key -> limits, and admission. The table keeps SHA-256 digests only.
 *
 * Records never move once made (one reserved mapping, committed as it fills), so a worker may keep a pointer;
 * only the index over them is rebuilt aside and swapped. A record that was dropped stays readable, says so, and
 * is reused only after all readers have been outside. Admission is the generic cell rate algorithm
 * (ITU-T I.371, virtual scheduling) on one word, shared by all workers by compare-and-swap; docs/limits.md says how
 * several nodes share it. */
#ifndef BEAST_KEY_TABLE_H
#define BEAST_KEY_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "grace.h"
#include "request.h"
#include "sha256.h"
#include "source_limit.h"

/* Of beast_key.flags; its upper half holds the month that the allowance is of, as months since the year 0. */
#define BEAST_KEY_PARTNER UINT32_C(1)  /* no limit, no cap; still counted */
#define BEAST_KEY_NO_PRICE UINT32_C(2) /* its scopes don't open prices */
#define BEAST_KEY_NETWORKS UINT32_C(4) /* only from the networks of beast_key_restrict */
#define BEAST_KEY_PARTIAL UINT32_C(8)  /* its allowance is a part of what is left: none is no reason to say that the cap is
                                        * used up. The table's own. */
#define BEAST_KEY_FLOOR UINT32_C(16)   /* the cluster has not heard what is known of its use: told first. The table's own. */
#define BEAST_KEY_MONTH_AT 16

/* beast_key.balance, one word so that one compare-and-swap moves both: in the upper bits the allowance, which is how many
 * answers may be given before the slow side must be asked; in the lower ones how many admissions are not yet settled with
 * the cluster (key_settle.c). */
#define BEAST_UNSETTLED_BITS 24
#define BEAST_LEASE_MAX ((UINT32_C(1) << BEAST_UNSETTLED_BITS) - 1)
#define BEAST_ONE_ANSWER (UINT64_C(1) << BEAST_UNSETTLED_BITS)
#define BEAST_NO_CAP (INT64_C(0xFFFFFFFFFF)) /* an allowance that is never taken from; a cap that large is none */

static inline int64_t beast_allowance_of(uint64_t balance) { return (int64_t)(balance >> BEAST_UNSETTLED_BITS); }
static inline uint32_t beast_unsettled_of(uint64_t balance) { return (uint32_t)balance & BEAST_LEASE_MAX; }

/* The first cache line holds all that a request touches; in the second lies what its limits are told and settled by. */
typedef struct beast_key {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t live; /* 1: valid; 0: revoked, paused or dropped */
    _Atomic uint32_t generation;   /* grows whenever the record is given to another key */
    _Atomic uint32_t flags;        /* BEAST_KEY_... */
    _Atomic uint32_t lease;        /* how many admissions may be unsettled; 0: it has nothing to settle */
    _Atomic uint64_t id;           /* the row's id in api_keys */
    _Atomic int64_t interval_ns;   /* between requests at the sustained rate; 0: no rate limit */
    _Atomic int64_t tolerance_ns;  /* how far ahead of it a burst may run: (burst - 1) x interval */
    _Atomic int64_t arrival_ns;    /* theoretical arrival time, CLOCK_MONOTONIC */
    _Atomic uint64_t balance;      /* allowance and unsettled admissions */
    _Atomic uint32_t touched;      /* number + 1 of the next record in a list of touched ones */
    uint32_t next;                 /* the writer's list of dropped records */
    _Alignas(BEAST_CACHE_LINE) uint8_t digest[BEAST_SHA256_LEN];
    _Atomic int64_t cap;           /* answers a month; BEAST_NO_CAP: none */
    _Atomic int64_t seen;          /* answers of the month, of the whole cluster, as far as this node was told */
    _Atomic int64_t given;         /* allowance + answers that the cluster was not told of */
    _Atomic uint64_t quota_id;     /* whose rate and cap it shares: the first key of its line */
} beast_key;

typedef struct beast_key_table beast_key_table;
typedef struct beast_key_cache beast_key_cache; /* one per lane, about 1 MB: key literals seen, known or not */

beast_key_table *beast_key_table_new(uint32_t max_keys);
void beast_key_table_free(beast_key_table *table);

/* What a key may do. */
typedef struct beast_key_limits {
    uint64_t id, quota_id;
    uint32_t per_second, burst; /* 0: no rate limit; a burst of 0 counts as 1 */
    uint32_t flags;             /* BEAST_KEY_PARTNER, _NO_PRICE, _NETWORKS */
    uint32_t lease;             /* at most BEAST_LEASE_MAX */
    uint32_t month;             /* that `used` is of, in any numbering that only grows, below 2^16 */
    int64_t cap, used;          /* answers a month, and those of this month that are known of; BEAST_NO_CAP or more: no cap */
} beast_key_limits;

/* Adds a key or changes its limits in place, word by word (its arrival time, its unsettled admissions and its place
 * stay). The interval is 10^9 / per_second ns, rounded up. Its allowance becomes what key_settle.c grants of what is left.
 * FULL: `max_keys` are there. Writer only; may wait for readers. */
beast_status beast_key_set(beast_key_table *table, const uint8_t digest[32], const beast_key_limits *limits,
                           const beast_readers *readers);
/* The same for a key with nothing but a rate and an allowance. */
beast_status beast_key_put(beast_key_table *table, const uint8_t digest[32], uint64_t id, uint32_t per_second,
                           uint32_t burst, bool partner, int64_t allowance, const beast_readers *readers);

#define BEAST_KEY_NETWORKS_MAX 16
/* The only networks from which a key with BEAST_KEY_NETWORKS is taken; before this it is taken from nowhere. FULL: more
 * than BEAST_KEY_NETWORKS_MAX; BAD_ARGUMENT: more than 128 bits. Writer only; may wait for readers. */
beast_status beast_key_restrict(beast_key_table *table, const uint8_t digest[32], const beast_source_network *list,
                                uint32_t n, const beast_readers *readers);
/* As a batch's look-ups: may the key be used from there? */
bool beast_key_is_from(const beast_key_table *table, const beast_key *key, const struct sockaddr *peer);
/* As beast_key_by_digest: does the key open prices, and, where `peer` is told, from there? */
bool beast_key_opens(const beast_key_table *table, const uint8_t digest[32], const struct sockaddr *peer);

/* The key is refused from now on. NOT_FOUND when it wasn't there. Writer only. */
beast_status beast_key_drop(beast_key_table *table, const uint8_t digest[32], const beast_readers *readers);
uint32_t beast_key_count(const beast_key_table *table);
/* Any thread, between reader_enter and reader_leave, or the writer: the record by digest, or NULL. */
beast_key *beast_key_by_digest(const beast_key_table *table, const uint8_t digest[32]);
/* Any thread: the record by its number (records are numbered 0.. in the order made), for usage records. */
uint32_t beast_key_number(const beast_key_table *table, const beast_key *key);
beast_key *beast_key_by_number(const beast_key_table *table, uint32_t number);

beast_key_cache *beast_key_cache_new(void);
void beast_key_cache_free(beast_key_cache *cache);

/* Looking one literal up, in steps, so that a batch overlaps its cache misses; good for the batch, between
 * reader_enter and reader_leave. Prefetch begins it, find ends it; what is between is optional. */
typedef struct beast_key_search {
    beast_slice literal; /* ptr NULL: none that could be a key */
    struct beast_key_entry *set; /* of the cache, where it can be */
    uint32_t label;
    uint32_t generation; /* of the record when it was this literal's */
    beast_key *record;   /* that recalling it named; NULL: none */
    bool hashed; /* `digest` is there */
    uint8_t digest[BEAST_SHA256_LEN];
} beast_key_search;

/* False: it could be no key. */
bool beast_key_prefetch(beast_key_cache *cache, beast_slice literal, beast_key_search *search);
/* True when the lane has seen the literal: finding it will cost no SHA-256, unless keys were put or dropped. */
bool beast_key_recall(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search);
/* For literals not recalled: hashes, and fetches what finding will touch of the shared table; of its record later. */
void beast_key_digest(const beast_key_table *table, beast_key_search *search);
void beast_key_prefetch_record(const beast_key_table *table, const beast_key_search *search);
/* The live record of a literal key, or NULL. Compares all bytes; an unknown literal costs one SHA-256 and may be
 * remembered until any key is put or dropped. */
beast_key *beast_key_find(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search);

/* The same without a look at the shared table: NULL also where only finding it can tell. A record that was dropped, or
 * has become another key's, is not this literal's any more. */
static inline beast_key *beast_key_recalled(const beast_key_search *search)
{
    beast_key *key = search->record;
    if (!key || !atomic_load_explicit(&key->live, memory_order_acquire) ||
        atomic_load_explicit(&key->generation, memory_order_relaxed) != search->generation)
        return NULL;
    return key;
}

/* How limits are kept just now: alone, or with other nodes. */
typedef struct beast_key_terms {
    _Atomic uint32_t leasing;  /* admissions are settled with the cluster, and at most a key's lease goes ahead of that */
    _Atomic uint32_t share;    /* limits are divided by so many nodes; 1: all is this node's */
    _Atomic uint32_t nodes;    /* known to be there: allowances are granted as if all were asked alike */
    _Atomic uint32_t cluster;  /* what clients are told: the limits are those of the cluster, not of this node */
    _Atomic int64_t retry_ns;  /* when a key that has used up its lease may hope to be settled */
} beast_key_terms;
beast_key_terms *beast_key_terms_of(beast_key_table *table);
/* Writer only; lanes may for a moment see half of the change. */
void beast_key_terms_set(beast_key_terms *terms, bool leasing, uint32_t share, uint32_t nodes, bool cluster,
                         int64_t retry_ns);

/* ANSWERED: admitted, one answer is taken from the allowance, and the key is touched. RATE_LIMITED: *retry_ns says in how
 * many ns to come back; by the rate, or because its lease or its part of the allowance is used up. QUOTA_EXCEEDED: no
 * allowance is left; the request has counted against the rate. `cache` is the lane's own. */
beast_result beast_key_admit(const beast_key_table *table, beast_key_cache *cache, beast_key *key, int64_t now_ns,
                             int64_t *retry_ns);
/* Takes one answer from the allowance of a key that was admitted before. */
beast_result beast_key_take(const beast_key_table *table, beast_key *key, int64_t *retry_ns);
/* Gives back what admit took, when the request ended without a price. */
void beast_key_refund(beast_key *key);

/* The rate as it holds on this node: shared out. The interval is 0 without a limit. */
typedef struct beast_key_rate {
    int64_t interval_ns, tolerance_ns;
} beast_key_rate;

static inline beast_key_rate beast_key_rate_of(const beast_key *key, uint32_t share)
{
    beast_key_rate rate = {atomic_load_explicit(&key->interval_ns, memory_order_relaxed),
                           atomic_load_explicit(&key->tolerance_ns, memory_order_relaxed)};
    if (__builtin_expect(share > 1, 0)) {
        int64_t others = (int64_t)(share - 1) * rate.interval_ns;
        rate.tolerance_ns = rate.tolerance_ns > others ? rate.tolerance_ns - others : 0;
        rate.interval_ns += others;
    }
    return rate;
}

#endif
