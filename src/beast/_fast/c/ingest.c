#include "ingest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "believe.h"
#include "continuity.h"
#include "feed_link.h"
#include "trade_order.h"

/* What is held of one symbol: the newest trade, believed or waiting, and what was learnt from those before it. */
typedef struct entry {
    uint32_t instrument;
    uint16_t symbol_len; /* 0: the place is free */
    uint16_t price_len;  /* 0: no trade yet */
    uint32_t epoch;      /* of the link, when it came */
    double value;
    beast_rank rank;
    int64_t fresh_ns;
    beast_belief belief;
    int64_t interval_ns, deviation_ns;
    uint64_t trades, held, confirmed;
    beast_numbering numbering;
    uint8_t price[BEAST_PRICE_MAX];
    uint8_t symbol[BEAST_VALUE_MAX];
} entry;

struct beast_ingest {
    beast_ingest_config config;
    beast_naming naming;
    beast_link *link;
    uint32_t epoch;
    bool waits;            /* some symbol may have a trade that waits */
    uint32_t until_sample; /* frames with trades until one is timed */
    beast_intake intake;
    beast_ingest *next, **from; /* in the list of all */
    beast_numbering numbering; /* of its frames */
    beast_gaps gaps;
    uint32_t n_touched;
    uint32_t touched[BEAST_TRADES_MAX];
    uint32_t mask;    /* of the table of entries: open addressing, at most half full */
    entry *entries;
    beast_extraction extraction;
};

beast_ingest *beast_ingest_new(const beast_ingest_config *config)
{
    if (config->link >= BEAST_LINKS_MAX)
        return NULL;
    beast_ingest *ingest = calloc(1, sizeof *ingest);
    if (!ingest)
        return NULL;
    ingest->config = *config;
    ingest->naming = *config->naming;
    ingest->link = beast_table_link(config->table, config->link);
    ingest->entries = calloc(1, sizeof *ingest->entries);
    if (!ingest->entries) {
        free(ingest);
        return NULL;
    }
    ingest->from = &config->all->first;
    ingest->next = config->all->first;
    if (ingest->next)
        ingest->next->from = &ingest->next;
    config->all->first = ingest;
    return ingest;
}

void beast_ingest_free(beast_ingest *ingest)
{
    if (!ingest)
        return;
    *ingest->from = ingest->next;
    if (ingest->next)
        ingest->next->from = ingest->from;
    free(ingest->entries);
    free(ingest);
}

/* FNV-1a, 64 bits: symbols are short, and the exchange chooses them. */
static uint32_t hash(const uint8_t *text, uint32_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < len; i++)
        h = (h ^ text[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

/* The symbol's entry, or the free place where it would be; one place is always free. */
static entry *find(entry *entries, uint32_t mask, const uint8_t *symbol, uint32_t len)
{
    for (uint32_t i = hash(symbol, len);; i++) {
        entry *at = &entries[i & mask];
        if (at->symbol_len == 0 || (at->symbol_len == len && memcmp(at->symbol, symbol, len) == 0))
            return at;
    }
}

beast_status beast_ingest_symbols(beast_ingest *ingest, const beast_slice *symbols, const uint32_t *instruments,
                                  uint32_t n)
{
    uint32_t size = 1;
    while (size < 2 * n + 1)
        size *= 2;
    entry *entries = calloc(size, sizeof *entries);
    if (!entries)
        return BEAST_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = symbols[i].len;
        entry *at = len >= 1 && len <= BEAST_VALUE_MAX ? find(entries, size - 1, symbols[i].ptr, len) : NULL;
        if (!at || at->symbol_len) {
            free(entries);
            return BEAST_BAD_ARGUMENT;
        }
        const entry *old = find(ingest->entries, ingest->mask, symbols[i].ptr, len);
        if (old->symbol_len && old->instrument == instruments[i])
            *at = *old;
        at->instrument = instruments[i];
        at->symbol_len = (uint16_t)len;
        memcpy(at->symbol, symbols[i].ptr, len);
    }
    free(ingest->entries);
    ingest->entries = entries;
    ingest->mask = size - 1;
    return BEAST_OK;
}

void beast_ingest_plan(beast_ingest *ingest, const beast_plan *plan, const beast_naming *naming)
{
    ingest->config.plan = plan;
    ingest->naming = *naming;
    memset(&ingest->extraction, 0, sizeof ingest->extraction); /* the form it has learnt is the old plan's */
    memset(&ingest->numbering, 0, sizeof ingest->numbering);   /* and so are the numbers */
    for (uint32_t i = 0; i <= ingest->mask; i++) {
        memset(&ingest->entries[i].numbering, 0, sizeof ingest->entries[i].numbering);
        ingest->entries[i].rank.numbers = BEAST_NUMBERS_NONE;
    }
}

void beast_ingest_epoch(beast_ingest *ingest, uint32_t epoch)
{
    ingest->epoch = epoch;
}

void beast_ingest_backfill(beast_ingest *ingest, int64_t backfill_ns)
{
    ingest->config.backfill_ns = backfill_ns;
}

static entry *find_wire(beast_ingest *ingest, const beast_slice *symbol)
{
    uint8_t room[BEAST_VALUE_MAX];
    beast_slice name = beast_naming_apply(&ingest->naming, *symbol, room);
    if (name.len == 0)
        return NULL;
    entry *at = find(ingest->entries, ingest->mask, name.ptr, name.len);
    return at->symbol_len ? at : NULL;
}

/* What a trade is to the one that is held. */
typedef enum news { NEWS, PERHAPS_NEWS, TOLD_AGAIN, OUTDATED, SEEMS_OUTDATED } news;

/* The smoothed interval between trades and its mean deviation, as RFC 6298 has them for round trips. */
static void learn_interval(entry *at, int64_t received_ns)
{
    int64_t interval = received_ns > at->rank.received_ns ? received_ns - at->rank.received_ns : 0;
    if (at->trades == 2) {
        at->interval_ns = interval;
        at->deviation_ns = interval / 2;
        return;
    }
    int64_t off = interval - at->interval_ns;
    at->deviation_ns += ((off < 0 ? -off : off) - at->deviation_ns) / 4;
    at->interval_ns += off / 8;
}

/* Takes the trade into the entry, unless a newer one is there. */
static news take_in(const beast_ingest *ingest, entry *at, const beast_trade *trade, int64_t received_ns, int64_t wall_ns)
{
    beast_rank rank = beast_rank_of(&ingest->extraction, trade, received_ns, wall_ns);
    if (at->price_len && rank.numbers == BEAST_NUMBERS_OF_FRAMES && at->epoch < beast_link_first(ingest->link))
        at->rank.numbers = BEAST_NUMBERS_NONE; /* they begin anew with each connection */
    beast_order order = at->price_len ? beast_compare(&rank, &at->rank) : BEAST_NEWER;
    if (order != BEAST_NEWER)
        return order == BEAST_OLDER ? OUTDATED : SEEMS_OUTDATED;
    bool again = rank.time_ns == at->rank.time_ns && trade->price.len == at->price_len &&
                 memcmp(trade->price.ptr, at->price, at->price_len) == 0;
    news what = again ? TOLD_AGAIN : beast_is_another(&rank, &at->rank) ? NEWS : PERHAPS_NEWS;
    if (again)
        rank.received_ns = at->rank.received_ns;
    else if (at->trades++)
        learn_interval(at, received_ns);
    at->rank = rank;
    if (again)
        return what;
    int64_t lag_ns = wall_ns - rank.order_ns;
    at->fresh_ns = lag_ns > ingest->config.backfill_ns ? received_ns - lag_ns : received_ns;
    at->price_len = (uint16_t)trade->price.len;
    memcpy(at->price, trade->price.ptr, trade->price.len);
    at->value = beast_decimal_value(at->price, at->price_len);
    return what;
}

static void settle(beast_ingest *ingest, entry *at, uint8_t confirmed, uint8_t dropped)
{
    at->confirmed += confirmed;
    beast_count(ingest->config.counters, BEAST_COUNTER_trades_confirmed, confirmed);
    beast_count(ingest->config.counters, BEAST_COUNTER_trades_dropped, dropped);
}

/* What becomes of the trade: it is published, or waits until others confirm it. */
static beast_counter believe(beast_ingest *ingest, entry *at, double band, bool another)
{
    beast_price_table *table = ingest->config.table;
    bool usual = band == 0 || beast_is_usual(&at->belief, at->value, band);
    double others = usual ? NAN : beast_price_others(table, at->instrument, at->rank.received_ns);
    beast_verdict verdict = beast_believe(&at->belief, at->value, usual, others, band,
                                          beast_table_rules(table)->confirmations, another);
    if (verdict.confirmed || verdict.dropped)
        settle(ingest, at, verdict.confirmed, verdict.dropped);
    if (verdict.believed || verdict.again)
        return verdict.believed ? BEAST_COUNTER_ws_trades : BEAST_COUNTER_trades_outdated;
    at->held++;
    ingest->waits = true;
    beast_price_hold(table, at->instrument);
    return BEAST_COUNTER_trades_held;
}

static void publish(beast_ingest *ingest, const entry *at)
{
    const beast_quote quote = {
        .price = at->price,
        .price_len = at->price_len,
        .value = at->value,
        .time_ns = at->rank.time_ns,
        .received_ns = at->rank.received_ns,
        .fresh_ns = at->fresh_ns,
        .epoch = at->epoch,
        .tier = 1,
    };
    beast_price_put(ingest->config.table, at->instrument, &quote);
}

static beast_counter take(beast_ingest *ingest, const beast_trade *trade, int64_t received_ns, int64_t wall_ns)
{
    const beast_ingest_config *config = &ingest->config;
    entry *at = find_wire(ingest, &trade->symbol);
    double band = at ? beast_price_band(config->table, at->instrument) : -1;
    if (band < 0)
        return BEAST_COUNTER_trades_unmapped;
    ingest->touched[ingest->n_touched++] = at->instrument;
    if (trade->sequenced)
        beast_follow(&at->numbering, trade->sequence_first, trade->sequence, received_ns, at->instrument, &ingest->gaps);
    news what = take_in(ingest, at, trade, received_ns, wall_ns);
    /* A trade told again proves a price anew, but wasn't received now; nor does it confirm itself. */
    if (what == SEEMS_OUTDATED)
        beast_price_doubt(config->table, at->instrument);
    if (what >= OUTDATED || (what == TOLD_AGAIN && at->belief.waiting))
        return BEAST_COUNTER_trades_outdated;
    /* What a connection tells first may be older than what REST has told since; what it tells next is new. */
    bool first = at->epoch != ingest->epoch;
    at->epoch = ingest->epoch;
    if (first && beast_price_was_told_later(config->table, at->instrument, at->rank.time_ns, at->value))
        return BEAST_COUNTER_trades_outdated;
    beast_counter outcome = what == TOLD_AGAIN ? BEAST_COUNTER_ws_trades : believe(ingest, at, band, what == NEWS);
    if (outcome != BEAST_COUNTER_ws_trades)
        return outcome;
    publish(ingest, at);
    if (beast_is_ahead(&at->rank))
        beast_price_doubt(config->table, at->instrument);
    return BEAST_COUNTER_ws_trades;
}

/* How long a frame took from being read to being visible: of every 64th, since asking the clock costs as much as a
 * tenth of a frame. */
static void sample_visible(beast_ingest *ingest, int64_t received_ns)
{
    struct timespec now;
    if (ingest->until_sample--)
        return;
    ingest->until_sample = 63;
    clock_gettime(CLOCK_MONOTONIC, &now);
    beast_histogram_add(ingest->config.visible, now.tv_sec * INT64_C(1000000000) + now.tv_nsec - received_ns);
}

beast_ingested beast_ingest_feed(beast_ingest *ingest, const uint8_t *frame, size_t len, int64_t received_ns,
                                 int64_t wall_ns)
{
    beast_counters *counters = ingest->config.counters;
    beast_ingested result = {.kind = beast_extract(ingest->config.plan, frame, len, &ingest->extraction)};
    ingest->n_touched = 0;
    beast_count(counters, BEAST_COUNTER_frames, 1);
    ingest->intake.frames++;
    beast_link_proven(ingest->link, received_ns);
    if (ingest->extraction.sequenced) {
        uint64_t number = ingest->extraction.sequence;
        if (beast_follow(&ingest->numbering, number, number, received_ns, BEAST_GAP_LINK, &ingest->gaps))
            ingest->epoch = beast_link_doubt(ingest->link); /* whose trades are missing nobody knows */
    }
    if (result.kind != BEAST_FRAME_TRADE)
        return result;
    const beast_trades *trades = ingest->extraction.trades;
    for (uint32_t i = 0; i < trades->count; i++) {
        beast_counter outcome = take(ingest, &trades->trade[i], received_ns, wall_ns);
        beast_count(counters, outcome, 1);
        result.published += outcome == BEAST_COUNTER_ws_trades;
        *(outcome == BEAST_COUNTER_trades_unmapped ? &ingest->intake.unmapped : &ingest->intake.trades) += 1;
    }
    ingest->intake.bad_prices += trades->bad_prices, ingest->intake.unmapped += trades->nameless;
    if (trades->bad_prices)
        beast_count(counters, BEAST_COUNTER_trades_bad_price, trades->bad_prices);
    if (trades->nameless)
        beast_count(counters, BEAST_COUNTER_trades_unmapped, trades->nameless);
    if (trades->overflow) /* the frame held more symbols than a plan may take from one */
        beast_count(counters, BEAST_COUNTER_frames_malformed, 1);
    if (!trades->count && !trades->bad_prices && !trades->nameless) {
        beast_count(counters, BEAST_COUNTER_frames_ignored, 1);
        ingest->intake.empty++;
    }
    if (trades->bad_prices || trades->nameless || trades->overflow)
        ingest->epoch = beast_link_doubt(ingest->link); /* they were newer trades, but of what price, or whose? */
    beast_price_flush(ingest->config.table, received_ns);
    if (result.published)
        sample_visible(ingest, received_ns);
    return result;
}

beast_intake beast_ingest_intake(const beast_ingest *ingest)
{
    return ingest->intake;
}

uint32_t beast_ingest_touched(const beast_ingest *ingest, const uint32_t **instruments)
{
    *instruments = ingest->touched;
    return ingest->n_touched;
}

/* Looks again at a symbol's trade that waits; false: it still does. */
static bool look_again(beast_ingest *ingest, entry *at, int64_t now_ns)
{
    double band = beast_price_band(ingest->config.table, at->instrument);
    if (band < 0)
        return false;
    double others = beast_price_others(ingest->config.table, at->instrument, now_ns);
    uint8_t confirmed = beast_release(&at->belief, at->value, others, band);
    if (!confirmed)
        return false;
    settle(ingest, at, confirmed, 0);
    publish(ingest, at);
    return true;
}

static void sweep(beast_ingest *ingest, int64_t now_ns)
{
    ingest->waits = false;
    for (uint32_t i = 0; i <= ingest->mask; i++) {
        entry *at = &ingest->entries[i];
        ingest->waits |= at->belief.waiting && !look_again(ingest, at, now_ns);
    }
}

void beast_ingests_sweep(const beast_ingests *all, int64_t now_ns)
{
    for (beast_ingest *ingest = all->first; ingest; ingest = ingest->next)
        if (ingest->waits)
            sweep(ingest, now_ns);
}

bool beast_ingest_symbol(const beast_ingest *ingest, uint32_t *place, beast_symbol *out)
{
    while (*place <= ingest->mask) {
        const entry *at = &ingest->entries[(*place)++];
        if (!at->symbol_len)
            continue;
        *out = (beast_symbol){
            .symbol = {at->symbol, at->symbol_len},
            .instrument = at->instrument,
            .trades = at->trades,
            .received_ns = at->rank.received_ns,
            .interval_ns = at->interval_ns,
            .deviation_ns = at->deviation_ns,
            .held = at->held,
            .confirmed = at->confirmed,
            .waiting = at->belief.waiting,
        };
        return true;
    }
    return false;
}

uint32_t beast_ingest_gaps(beast_ingest *ingest, beast_gap out[static BEAST_GAPS_MAX])
{
    uint32_t count = ingest->gaps.count;
    memcpy(out, ingest->gaps.gap, count * sizeof *out);
    ingest->gaps.count = 0;
    return count;
}
