#include "ingest.h"

#include <stdlib.h>
#include <string.h>

#include "feed_link.h"

/* What is held of one symbol. */
typedef struct entry {
    uint32_t instrument;
    uint16_t symbol_len; /* 0: the place is free */
    uint16_t price_len;  /* 0: no trade yet */
    int64_t order_ns, time_ns;
    int64_t received_ns, fresh_ns;
    uint8_t price[BEAST_PRICE_MAX];
    uint8_t symbol[BEAST_VALUE_MAX];
} entry;

struct beast_ingest {
    beast_ingest_config config;
    uint8_t prefix[BEAST_VALUE_MAX];
    beast_link *link;
    uint32_t epoch;
    uint32_t mask;    /* of the table of entries: open addressing, at most half full */
    entry *entries;
    beast_extraction extraction;
};

beast_ingest *beast_ingest_new(const beast_ingest_config *config)
{
    if (config->prefix_len > BEAST_VALUE_MAX || config->link >= BEAST_LINKS_MAX)
        return NULL;
    beast_ingest *ingest = calloc(1, sizeof *ingest);
    if (!ingest)
        return NULL;
    ingest->config = *config;
    if (config->prefix_len)
        memcpy(ingest->prefix, config->prefix, config->prefix_len);
    ingest->link = beast_table_link(config->table, config->link);
    ingest->entries = calloc(1, sizeof *ingest->entries);
    if (!ingest->entries) {
        free(ingest);
        return NULL;
    }
    return ingest;
}

void beast_ingest_free(beast_ingest *ingest)
{
    if (ingest)
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

void beast_ingest_epoch(beast_ingest *ingest, uint32_t epoch)
{
    ingest->epoch = epoch;
}

void beast_ingest_backfill(beast_ingest *ingest, int64_t backfill_ns)
{
    ingest->config.backfill_ns = backfill_ns;
}

static uint8_t fold_byte(uint8_t c, beast_fold fold)
{
    uint8_t lower = c | 0x20;
    if (fold == BEAST_FOLD_NONE || lower < 'a' || lower > 'z')
        return c;
    return fold == BEAST_FOLD_LOWER ? lower : lower & 0xDF;
}

static entry *find_wire(beast_ingest *ingest, const beast_slice *symbol)
{
    const beast_ingest_config *config = &ingest->config;
    const uint8_t *text = symbol->ptr;
    uint32_t len = symbol->len, prefix = config->prefix_len;
    uint8_t folded[BEAST_VALUE_MAX];
    if (prefix && len >= prefix && memcmp(text, ingest->prefix, prefix) == 0) {
        text += prefix;
        len -= prefix;
    }
    if (len == 0)
        return NULL;
    if (config->fold != BEAST_FOLD_NONE) {
        for (uint32_t i = 0; i < len; i++)
            folded[i] = fold_byte(text[i], config->fold);
        text = folded;
    }
    entry *at = find(ingest->entries, ingest->mask, text, len);
    return at->symbol_len ? at : NULL;
}

/* Takes the trade into the entry, unless a newer one is there. */
static bool hold(entry *at, const beast_trade *trade, int64_t received_ns, int64_t wall_ns, int64_t backfill_ns)
{
    int64_t time_ns = trade->time_ns ? trade->time_ns : wall_ns;
    int64_t order_ns = time_ns < wall_ns ? time_ns : wall_ns;
    /* Only a clock that was set back makes a trade that is newer by its own time seem older by ours. */
    if (at->price_len && order_ns < at->order_ns && trade->time_ns && trade->time_ns < at->time_ns)
        return false;
    at->order_ns = order_ns;
    if (time_ns == at->time_ns && trade->price.len == at->price_len &&
        memcmp(trade->price.ptr, at->price, at->price_len) == 0)
        return true; /* the trade we hold, told again: it proves the price anew, but wasn't received now */
    int64_t lag_ns = wall_ns - order_ns;
    at->time_ns = time_ns;
    at->received_ns = received_ns;
    at->fresh_ns = lag_ns > backfill_ns ? received_ns - lag_ns : received_ns;
    at->price_len = (uint16_t)trade->price.len;
    memcpy(at->price, trade->price.ptr, trade->price.len);
    return true;
}

static beast_counter take(beast_ingest *ingest, const beast_trade *trade, int64_t received_ns, int64_t wall_ns)
{
    const beast_ingest_config *config = &ingest->config;
    entry *at = find_wire(ingest, &trade->symbol);
    if (!at)
        return BEAST_COUNTER_trades_unmapped;
    if (!hold(at, trade, received_ns, wall_ns, config->backfill_ns))
        return BEAST_COUNTER_trades_outdated;
    beast_status status =
        beast_price_publish(config->table, at->instrument, at->price, at->price_len, at->time_ns, at->received_ns,
                            at->fresh_ns, ingest->epoch, 1);
    return status == BEAST_OK ? BEAST_COUNTER_ws_trades : BEAST_COUNTER_trades_unmapped;
}

beast_ingested beast_ingest_feed(beast_ingest *ingest, const uint8_t *frame, size_t len, int64_t received_ns,
                                 int64_t wall_ns)
{
    beast_counters *counters = ingest->config.counters;
    beast_ingested result = {.kind = beast_extract(ingest->config.plan, frame, len, &ingest->extraction)};
    beast_count(counters, BEAST_COUNTER_frames, 1);
    beast_link_proven(ingest->link, received_ns);
    if (result.kind != BEAST_FRAME_TRADE)
        return result;
    const beast_trades *trades = ingest->extraction.trades;
    for (uint32_t i = 0; i < trades->count; i++) {
        beast_counter outcome = take(ingest, &trades->trade[i], received_ns, wall_ns);
        beast_count(counters, outcome, 1);
        result.published += outcome == BEAST_COUNTER_ws_trades;
    }
    if (trades->bad_prices)
        beast_count(counters, BEAST_COUNTER_trades_bad_price, trades->bad_prices);
    if (trades->nameless)
        beast_count(counters, BEAST_COUNTER_trades_unmapped, trades->nameless);
    if (trades->overflow) /* the frame held more symbols than a plan may take from one */
        beast_count(counters, BEAST_COUNTER_frames_malformed, 1);
    if (!trades->count && !trades->bad_prices && !trades->nameless)
        beast_count(counters, BEAST_COUNTER_frames_ignored, 1);
    return result;
}
