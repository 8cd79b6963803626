/* (exchange, asset) -> ready-made answer text. One writer, readers never wait.
 *
 * A layout (index and packed slots) never changes its shape: a new set of instruments is built aside, takes
 * over the prices held, and is swapped in. Within a layout each slot has a sequence lock: odd while being
 * written, and a reader that saw it odd or changed reads again. All words are atomics with relaxed order;
 * the fences are those of Boehm, "Can seqlocks get along with programming language memory models?", 2012.
 *
 * The slots of one asset lie side by side in order of priority, so "the best source" is chosen among
 * neighbours at the moment of asking and can never be a source that has just gone quiet. */
#ifndef BEAST_PRICE_TABLE_H
#define BEAST_PRICE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "grace.h"
#include "request.h"

/* The exchange whose prices are computed: from those of an asset's other exchanges in the same currency. Its number in
 * every layout. Nobody gets it without asking for it. */
#define BEAST_CONSENSUS_NAME "consensus"
#define BEAST_CONSENSUS (BEAST_EXCHANGES_MAX + 1)

/* Text of a slot: the answer from its first byte to the quote that closes "timestamp". */
#define BEAST_SLOT_TEXT 216
#define BEAST_TIME_MAX 30 /* 2026-04-12T14:23:01.123456789Z */

typedef enum beast_state { BEAST_STATE_LIVE, BEAST_STATE_QUIET, BEAST_STATE_STALE } beast_state;

/* What a reader takes out of a slot besides its text, whole: one write's values, never two. */
typedef struct beast_price {
    int64_t received_ns; /* CLOCK_MONOTONIC: when Beast received it; age_ms counts from here; 0: never */
    int64_t fresh_ns;    /* CLOCK_MONOTONIC: since when the cache TTL counts; earlier for backfilled trades */
    uint32_t sequence;   /* of the write */
    uint32_t epoch;      /* of the link, when the trade came in; 0: no link brought it. With BEAST_DOUBTED */
    union {
        uint32_t shape; /* all four, as a slot holds them */
        struct {
            uint8_t price_len, timestamp_len, text_len;
            uint8_t tier; /* in a slot, with `way` above BEAST_WAY_SHIFT */
        };
    };
    uint16_t link;
    uint8_t price_at;     /* the price's digits inside the text */
    uint8_t timestamp_at; /* RFC 3339 without quotes, inside the text */
    uint8_t way;          /* beast_way */
} beast_price;

/* How it came; `source` is the exchange's name and the word for this. */
typedef enum beast_way { BEAST_WAY_WS, BEAST_WAY_REST, BEAST_WAY_MEDIAN } beast_way;

typedef struct beast_slot beast_slot;           /* opaque: 256 bytes, four cache lines */
typedef struct beast_layout beast_layout;       /* opaque: one shape of the table */
typedef struct beast_price_table beast_price_table;

/* In a price's epoch: something came behind the trade that may have been a newer one. It is never quiet. */
#define BEAST_DOUBTED (UINT32_C(1) << 31)

/* A connection to an exchange, as freshness sees it. Written by the feeds' thread, read by all. The first line changes
 * with the connection only, so that every lane keeps it in its cache; the second one with each frame. */
typedef struct beast_link {
    _Alignas(BEAST_CACHE_LINE) _Atomic int64_t patience_ns; /* silence after which the link is not proven any more */
    _Atomic int64_t lost_ns;     /* CLOCK_MONOTONIC of the last sign of life of the connection before this one */
    _Atomic uint32_t epoch;      /* grows with each connection, and with each doubt */
    _Atomic uint32_t first;      /* with which this connection began: an older trade isn't proven by it */
    _Atomic uint32_t before;     /* with which the one before began */
    _Atomic uint32_t up;
    _Alignas(BEAST_CACHE_LINE) _Atomic int64_t proven_ns; /* CLOCK_MONOTONIC of the last sign of life */
} beast_link;

typedef struct beast_instrument {
    uint32_t id;          /* the caller's, unique and small: 0 .. n_max-1; stays with it over loads */
    const char *asset;    /* upper-case, 1..BEAST_ASSET_MAX bytes, [A-Z0-9._-] */
    const char *exchange; /* lower-case, 1..BEAST_EXCHANGE_MAX bytes, [a-z0-9_-] */
    const char *currency; /* upper-case, 1..BEAST_CURRENCY_MAX bytes */
    int32_t priority;     /* lower is asked first; ties by exchange name */
    uint16_t link;
    int32_t band_bps;     /* how far a trade may jump, in 1/10,000; 0: anywhere; negative: as the rules say */
    uint32_t weight;      /* votes in the consensus; 0: not a source of it */
} beast_instrument;

/* What prices are judged by. */
typedef struct beast_price_rules {
    int64_t ttl_ns;         /* how long a trade is live */
    int64_t linkless_ns;    /* how long it is so after its connection was last proven */
    double band;            /* of instruments without one of their own, as a ratio; 0: every trade is believed */
    uint32_t confirmations; /* further trades that confirm one held back */
    uint32_t quorum;        /* sources that must agree on a consensus */
    double outlier;         /* a source nearer than this to the consensus, as a ratio, is no outlier */
} beast_price_rules;

beast_price_table *beast_price_table_new(uint32_t max_instruments);
void beast_price_table_free(beast_price_table *table);

/* Replaces the set of instruments; prices held carry over by (asset, exchange, currency). Waits for `readers`
 * before freeing the old layout. Writer only. BAD_ARGUMENT (a bad name, id or link, an id or an (asset, exchange)
 * given twice, too many exchanges) names no culprit: the caller validates. On failure nothing has changed. */
beast_status beast_price_table_load(beast_price_table *table, const beast_instrument *list, uint32_t n,
                                    const beast_readers *readers);
/* The second half of it: a layout built of the list for as many instruments becomes the table's. */
void beast_price_table_swap(beast_price_table *table, beast_layout *layout, const beast_instrument *list, uint32_t n,
                            const beast_readers *readers);

#define BEAST_VIA_REST 4

/* One trade. `price` is decimal text as JSON writes numbers, without sign or exponent, 1..BEAST_PRICE_MAX bytes;
 * `time_ns` is the exchange's time of the trade in ns since 1970 UTC, not negative, written with 6 digits of
 * fraction, or 9 when the last three are not zero; `received_ns` is above 0 and `tier` 1, 2, 3 or, when tier 1 or 2
 * holds what REST fetched, with BEAST_VIA_REST: the source tells the way a price came. BAD_ARGUMENT when
 * any of this is broken, NOT_FOUND when no instrument has this id; either way the slot keeps what it held. Writer
 * only; allocates nothing. Which trade wins is the caller's to say. */
beast_status beast_price_publish(beast_price_table *table, uint32_t id, const uint8_t *price, uint32_t price_len,
                                 int64_t time_ns, int64_t received_ns, int64_t fresh_ns, uint32_t epoch,
                                 uint8_t tier);

/* A trade of which all of that is known already, and its price as a number; else as beast_price_publish. */
typedef struct beast_quote {
    const uint8_t *price;
    uint32_t price_len;
    uint32_t epoch;
    double value;
    int64_t time_ns, received_ns, fresh_ns;
    uint8_t tier;
} beast_quote;
beast_status beast_price_put(beast_price_table *table, uint32_t id, const beast_quote *quote);

/* Forgets an instrument's price (its exchange was switched off). Writer only. */
void beast_price_forget(beast_price_table *table, uint32_t id);

/* A newer trade waits to be confirmed: until the next one is published, the price is no vote, and never quiet. */
void beast_price_hold(beast_price_table *table, uint32_t id);
/* What came may have been a newer trade, that nobody can read: until the next one is published the price is never quiet. */
void beast_price_doubt(beast_price_table *table, uint32_t id);

/* Whether REST has told another price later than `time_ns`: then a trade of that time is not the last one. */
bool beast_price_was_told_later(const beast_price_table *table, uint32_t id, int64_t time_ns, double value);

/* Writer only. */
/* `text` is decimal as above; right to some 15 digits. */
double beast_decimal_value(const uint8_t *text, uint32_t len);
/* Computes anew what sources have changed of, unless it has just done so; then the next call will. */
void beast_price_flush(beast_price_table *table, int64_t now_ns);
/* Computes every consensus anew: time alone takes sources away. To be called every BEAST_SWEEP_NS. */
#define BEAST_SWEEP_NS INT64_C(250000000)
void beast_price_sweep(beast_price_table *table, int64_t now_ns);
const beast_price_rules *beast_table_rules(const beast_price_table *table);
void beast_price_judge(beast_price_table *table, const beast_price_rules *rules);
/* As a ratio; 0: every trade is believed; negative: no such instrument. */
double beast_price_band(const beast_price_table *table, uint32_t id);
/* The median of the live prices that the asset's other exchanges have in the same currency, of two middle ones the
 * lower; NaN: there is none. */
double beast_price_others(beast_price_table *table, uint32_t id, int64_t now_ns);

/* Cold looks at one instrument by its id. Writer only: the layout can't be swapped meanwhile. */
const beast_slot *beast_price_slot(const beast_price_table *table, uint32_t id); /* NULL: no such instrument */
int64_t beast_price_time(const beast_price_table *table, uint32_t id); /* time_ns last published; -1: none */

/* Reader side; between beast_reader_enter and beast_reader_leave. */
const beast_layout *beast_layout_now(const beast_price_table *table);
uint64_t beast_name_hash(const beast_name *name);
/* The exchange's number in this layout, 1.., or 0: no such exchange. */
uint32_t beast_layout_exchange(const beast_layout *layout, const beast_name *exchange);
/* What (exchange, asset) is found by; `hash` is the asset's name's, and stays what it is for exchange 0: any. */
uint64_t beast_place_hash(uint64_t hash, uint32_t exchange);
/* Returns what most likely stands there: beast_slot_is tells. NULL: nothing. */
const beast_slot *beast_layout_prefetch(const beast_layout *layout, uint64_t place_hash);
/* The asset's slots, best priority first, and how many; of one exchange, unless it is 0, that one. NULL when there is
 * none. */
const beast_slot *beast_layout_find(const beast_layout *layout, uint32_t exchange, const beast_name *asset,
                                    uint64_t place_hash, uint32_t *count);
const beast_slot *beast_slot_next(const beast_slot *slot);     /* its neighbour in the same layout */
uint32_t beast_slot_id(const beast_slot *slot);                /* instrument id */
/* False when no trade was ever received. Reads again while it is being written. */
bool beast_slot_read(const beast_slot *slot, beast_price *out);
/* The text that belongs to `price`, to `text`, which has room for BEAST_SLOT_TEXT bytes, and for BEAST_TAIL_MAX more
 * when the slot is a consensus; behind it stands what happens to. Returns its length, which is text_len and that of a
 * consensus' sources; 0 when the slot was written since `price` was read: read it again. */
uint32_t beast_slot_text(const beast_slot *slot, const beast_price *price, uint8_t *text);
/* Why a consensus has no price: the error's members, less than BEAST_SLOT_TEXT bytes; `text` needs the same room. 0: it
 * has one, or it is none. */
uint32_t beast_slot_refusal(const beast_slot *slot, uint8_t *text);
/* Both, of one write; without a consensus' sources. */
bool beast_slot_copy(const beast_slot *slot, beast_price *out, uint8_t text[BEAST_SLOT_TEXT]);

/* NULL when `link` is not below BEAST_LINKS_MAX. Links outlive every layout; feed_link.h opens and closes them. */
beast_link *beast_table_link(beast_price_table *table, uint32_t link);

/* How long prices are live. */
typedef struct beast_freshness {
    int64_t ttl_ns;
    int64_t linkless_ns; /* that of beast_price_rules */
} beast_freshness;

/* live: within the TTL, and the connection that brought it is proven alive, unless none did; quiet: not within it, but
 * proven so, without a doubt, and the price is the link's own (tier 1); else stale. docs/protocol.md, section 3. */
beast_state beast_price_state(const beast_price *price, const beast_link *link, int64_t now_ns,
                              const beast_freshness *freshness);

/* Writes `time_ns` (ns since 1970, not negative: 1970 to 2262) as RFC 3339 UTC with 6 or 9 digits of fraction;
 * returns its length, at most BEAST_TIME_MAX, or 0 when it is negative. */
uint32_t beast_write_time(uint8_t *out, int64_t time_ns);

#endif
