/* Frames of one connection, straight into the price table: extraction, the symbols' instruments, and the rule that
 * an older trade never takes the place of a newer one (trade_order.h). Of two equal ones the later frame wins. Main
 * thread only.
 *
 * A trade that can't be believed (believe.h) waits, until later ones or other exchanges confirm it; the price published
 * before stays, but no link vouches for it. */
#ifndef BEAST_INGEST_H
#define BEAST_INGEST_H

#include "continuity.h"
#include "counters.h"
#include "extract.h"
#include "histogram.h"
#include "naming.h"
#include "price_table.h"

typedef struct beast_ingest beast_ingest;

/* All that feed one table, for what concerns them all. */
typedef struct beast_ingests {
    beast_ingest *first;
} beast_ingests;

typedef struct beast_ingest_config {
    const beast_plan *plan; /* must outlive the ingest, as the next four must */
    beast_ingests *all;
    beast_price_table *table;
    beast_counters *counters;
    beast_histogram *visible; /* of durations from received_ns to a price in the table, of some frames */
    uint32_t link;
    int64_t backfill_ns;    /* a trade further behind the clock than this is fresh since its own time only */
    const beast_naming *naming; /* copied */
} beast_ingest_config;

/* What one frame came to. */
typedef struct beast_ingested {
    beast_frame_kind kind;
    uint32_t published;
} beast_ingested;

beast_ingest *beast_ingest_new(const beast_ingest_config *config);
void beast_ingest_free(beast_ingest *ingest);

/* Replaces the symbols; what is held of those that stay is kept. A symbol is 1..BEAST_VALUE_MAX bytes, given as
 * after prefix, suffix and fold. BAD_ARGUMENT: too long, empty, or twice. On failure nothing has changed. */
beast_status beast_ingest_symbols(beast_ingest *ingest, const beast_slice *symbols, const uint32_t *instruments,
                                  uint32_t n);
/* Reads by another plan from now on, which must outlive the ingest. What is held stays; the symbols are to be given anew
 * where the naming differs. */
void beast_ingest_plan(beast_ingest *ingest, const beast_plan *plan, const beast_naming *naming);
/* Trades from now on came over this epoch of the link. */
void beast_ingest_epoch(beast_ingest *ingest, uint32_t epoch);
void beast_ingest_backfill(beast_ingest *ingest, int64_t backfill_ns);

/* Reads one frame, proves the link alive, publishes what it brings and counts it; a frame without trades, JSON or not,
 * may still say something, and is the caller's to count. `received_ns` is CLOCK_MONOTONIC, `wall_ns` CLOCK_REALTIME at
 * the same moment. Allocates nothing. */
beast_ingested beast_ingest_feed(beast_ingest *ingest, const uint8_t *frame, size_t len, int64_t received_ns,
                                 int64_t wall_ns);

/* The instruments that the last frame had trades of, whatever became of these; good until the next one. */
uint32_t beast_ingest_touched(const beast_ingest *ingest, const uint32_t **instruments);

/* Publishes what waits and what other exchanges have come to confirm. */
void beast_ingests_sweep(const beast_ingests *all, int64_t now_ns);

/* How one symbol fares. */
typedef struct beast_symbol {
    beast_slice symbol;
    uint32_t instrument;
    uint64_t trades;      /* newer than the one before; those told again don't count */
    int64_t received_ns;  /* of the last one; 0: none */
    int64_t interval_ns;  /* between trades, smoothed; 0: not yet known */
    int64_t deviation_ns; /* from it, smoothed */
    uint64_t held, confirmed;
    uint32_t waiting;     /* trades that wait to be confirmed */
} beast_symbol;

/* What came over it since it was made. */
typedef struct beast_intake {
    uint64_t frames;
    uint64_t trades;     /* of symbols that are mapped, with a price that can be read */
    uint64_t bad_prices;
    uint64_t unmapped;   /* or without any symbol */
    uint64_t empty;      /* frames of trades that held none */
} beast_intake;

beast_intake beast_ingest_intake(const beast_ingest *ingest);

/* The next symbol from *place on, which begins at 0 and moves; false at the end. */
bool beast_ingest_symbol(const beast_ingest *ingest, uint32_t *place, beast_symbol *out);

/* Takes the gaps in the exchange's numbers since they were last taken; returns how many there are. */
uint32_t beast_ingest_gaps(beast_ingest *ingest, beast_gap out[static BEAST_GAPS_MAX]);

#endif
