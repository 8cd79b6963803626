/* API key -> limits, and admission. The table keeps SHA-256 digests only.
 *
 * Records never move once made (one reserved mapping, committed as it fills), so a worker may keep a pointer;
 * only the index over them is rebuilt aside and swapped. A record that was dropped stays readable, says so, and
 * is reused only after all readers have been outside. Admission is the generic cell rate algorithm
 * (ITU-T I.371, virtual scheduling) on one word, shared by all workers by compare-and-swap. */
#ifndef BEAST_KEY_TABLE_H
#define BEAST_KEY_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "grace.h"
#include "request.h"
#include "sha256.h"

/* The first cache line holds all that a request touches; the digest lies in the second. */
typedef struct beast_key {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t live; /* 1: valid; 0: revoked, paused or dropped */
    _Atomic uint32_t generation;   /* grows whenever the record is given to another key */
    _Atomic uint32_t partner;      /* no limit, no cap; still counted */
    uint32_t next;                 /* the writer's list of dropped records */
    _Atomic uint64_t id;           /* the row's id in api_keys */
    _Atomic int64_t interval_ns;   /* between requests at the sustained rate; 0: no rate limit */
    _Atomic int64_t tolerance_ns;  /* how far ahead of it a burst may run: (burst - 1) x interval */
    _Atomic int64_t arrival_ns;    /* theoretical arrival time, CLOCK_MONOTONIC */
    _Atomic int64_t allowance;     /* answers left before the slow side must be asked; INT64_MAX: no cap */
    _Alignas(BEAST_CACHE_LINE) uint8_t digest[BEAST_SHA256_LEN];
} beast_key;

typedef struct beast_key_table beast_key_table;
typedef struct beast_key_cache beast_key_cache; /* one per lane, about 1 MB: key literals seen, known or not */

beast_key_table *beast_key_table_new(uint32_t max_keys);
void beast_key_table_free(beast_key_table *table);

/* Adds a key or changes its limits in place, word by word (its arrival time and place stay). The interval is
 * 10^9 / per_second ns, rounded up; `per_second` 0: no rate limit; `burst` 0 counts as 1. FULL: `max_keys` are there.
 * Writer only; may wait for readers. */
beast_status beast_key_put(beast_key_table *table, const uint8_t digest[32], uint64_t id, uint32_t per_second,
                           uint32_t burst, bool partner, int64_t allowance, const beast_readers *readers);
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
    uint64_t hash;
    struct beast_key_entry *entry; /* the cache's, as it was at `turn` */
    uint32_t turn;
    bool hashed; /* `digest` is there */
    uint8_t digest[BEAST_SHA256_LEN];
} beast_key_search;

void beast_key_prefetch(const beast_key_cache *cache, beast_slice literal, beast_key_search *search);
/* True when the lane has seen the literal: finding it will cost no SHA-256, unless keys were put or dropped. */
bool beast_key_recall(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search);
/* For literals not recalled: hashes, and fetches what finding will touch of the shared table; of its record later. */
void beast_key_digest(const beast_key_table *table, beast_key_search *search);
void beast_key_prefetch_record(const beast_key_table *table, const beast_key_search *search);
/* The live record of a literal key, or NULL. Compares all bytes; an unknown literal costs one SHA-256 and may be
 * remembered until any key is put or dropped. */
beast_key *beast_key_find(beast_key_cache *cache, const beast_key_table *table, beast_key_search *search);

/* ANSWERED: admitted, and one answer is taken from the allowance. RATE_LIMITED: *retry_ns says in how many ns to come
 * back. QUOTA_EXCEEDED: no allowance is left; the request has counted against the rate. */
beast_result beast_key_admit(beast_key *key, int64_t now_ns, int64_t *retry_ns);
/* Gives back what admit took, when the request ended without a price. */
void beast_key_refund(beast_key *key);

#endif
