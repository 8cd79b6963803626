/* Frames of one connection, straight into the price table: extraction, the symbols' instruments, and the rule that
 * an older trade never takes the place of a newer one. Main thread only.
 *
 * Trades are ordered by their own time, but never later than the clock that received them: one trade dated into the
 * future can't shut out those that follow. Nor can a clock that was set back: a trade that is newer by its own time
 * wins then, too, and so does one without a time. Of two equal ones the later frame wins. */
#ifndef BEAST_INGEST_H
#define BEAST_INGEST_H

#include "counters.h"
#include "extract.h"
#include "price_table.h"

typedef enum beast_fold { BEAST_FOLD_NONE, BEAST_FOLD_UPPER, BEAST_FOLD_LOWER } beast_fold;

typedef struct beast_ingest beast_ingest;

typedef struct beast_ingest_config {
    const beast_plan *plan; /* must outlive the ingest, as table and counters must */
    beast_price_table *table;
    beast_counters *counters;
    uint32_t link;
    int64_t backfill_ns;    /* a trade further behind the clock than this is fresh since its own time only */
    beast_fold fold;        /* of ASCII letters, before a symbol is looked up */
    const uint8_t *prefix;  /* taken off a symbol that begins with it, before it is folded */
    uint32_t prefix_len;    /* at most BEAST_VALUE_MAX */
} beast_ingest_config;

/* What one frame came to. */
typedef struct beast_ingested {
    beast_frame_kind kind;
    uint32_t published;
} beast_ingested;

beast_ingest *beast_ingest_new(const beast_ingest_config *config);
void beast_ingest_free(beast_ingest *ingest);

/* Replaces the symbols; what is held of those that stay is kept. A symbol is 1..BEAST_VALUE_MAX bytes, given as
 * after prefix and fold. BAD_ARGUMENT: too long, empty, or twice. On failure nothing has changed. */
beast_status beast_ingest_symbols(beast_ingest *ingest, const beast_slice *symbols, const uint32_t *instruments,
                                  uint32_t n);
/* Trades from now on came over this epoch of the link. */
void beast_ingest_epoch(beast_ingest *ingest, uint32_t epoch);
void beast_ingest_backfill(beast_ingest *ingest, int64_t backfill_ns);

/* Reads one frame, proves the link alive, publishes what it brings and counts it; a frame without trades, JSON or not,
 * may still say something, and is the caller's to count. `received_ns` is CLOCK_MONOTONIC, `wall_ns` CLOCK_REALTIME at
 * the same moment. Allocates nothing. */
beast_ingested beast_ingest_feed(beast_ingest *ingest, const uint8_t *frame, size_t len, int64_t received_ns,
                                 int64_t wall_ns);

#endif
