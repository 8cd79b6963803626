/* Builds a layout: checks and sorts the instruments, packs their slots, fills the index. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pages.h"
#include "price_layout.h"

/* An instrument on its way into a layout. */
typedef struct row {
    const beast_instrument *from;
    beast_name asset, exchange;
    uint64_t hash;   /* of the asset */
    uint32_t number; /* of the exchange */
} row;

static bool name_is_good(const char *name, size_t max, char first_letter)
{
    size_t len = 0;
    if (!name)
        return false;
    for (; name[len]; len++) {
        char c = name[len];
        bool letter = c >= first_letter && c <= first_letter + 25;
        if (len == max || !(letter || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return len > 0;
}

static bool is_consensus(const row *row) { return row->number == BEAST_CONSENSUS; }

/* Assets together, the operator's order within; exchanges by name as memcmp has it; a consensus behind its sources. */
static int compare_rows(const void *left, const void *right)
{
    const row *a = left, *b = right;
    int order = memcmp(a->asset.word, b->asset.word, sizeof a->asset.word);
    if (order != 0)
        return order;
    if (is_consensus(a) || is_consensus(b))
        return is_consensus(a) - is_consensus(b);
    if (a->from->priority != b->from->priority)
        return a->from->priority < b->from->priority ? -1 : 1;
    return memcmp(a->exchange.word, b->exchange.word, sizeof a->exchange.word);
}

/* The exchange's number, given out at first sight; 0 when there are too many. */
static uint32_t number_exchange(beast_layout *layout, const beast_name *exchange)
{
    uint32_t number = beast_layout_exchange(layout, exchange);
    if (number == 0 && layout->n_exchanges < BEAST_EXCHANGES_MAX) {
        memcpy(layout->exchange[layout->n_exchanges], exchange->word, sizeof layout->exchange[0]);
        number = ++layout->n_exchanges;
    }
    return number;
}

static bool read_rows(beast_layout *layout, row *rows, const beast_instrument *list, uint32_t n, uint32_t max)
{
    for (uint32_t i = 0; i < n; i++) {
        const beast_instrument *from = &list[i];
        if (from->id >= max || from->link >= BEAST_LINKS_MAX || layout->origins[from->id].slot ||
            !name_is_good(from->asset, BEAST_ASSET_MAX, 'A') ||
            !name_is_good(from->exchange, BEAST_EXCHANGE_MAX, 'a') ||
            !name_is_good(from->currency, BEAST_CURRENCY_MAX, 'A'))
            return false;
        rows[i].from = from;
        beast_name_fold(&rows[i].asset, (const uint8_t *)from->asset, (uint32_t)strlen(from->asset), true);
        beast_name_fold(&rows[i].exchange, (const uint8_t *)from->exchange, (uint32_t)strlen(from->exchange), false);
        rows[i].hash = beast_name_hash(&rows[i].asset);
        rows[i].number = number_exchange(layout, &rows[i].exchange);
        if (rows[i].number == 0)
            return false;
        layout->origins[from->id].slot = &layout->slots[i]; /* taken; its true place comes with the order */
    }
    qsort(rows, n, sizeof *rows, compare_rows);
    return true;
}

/* The constant pieces of the text; the head also goes into the slot, where names are compared. */
static void fill_slot(beast_slot *slot, beast_origin *origin, const row *row)
{
    const beast_instrument *from = row->from;
    char text[BEAST_SLOT_TEXT + 1] = {0};
    int len = snprintf(text, sizeof text, ",\"currency\":\"%s\",\"exchange\":\"%s\",\"source\":\"%s-", from->currency,
                       from->exchange, from->exchange);
    memcpy(origin->body, text, (size_t)len);
    origin->body_len = (uint8_t)len;

    len = snprintf(text, sizeof text, "{\"asset\":\"%s\",\"price\":", from->asset);
    memcpy(origin->head, text, (size_t)len);
    origin->head_len = (uint8_t)len;
    for (uint32_t i = 0; i < BEAST_TEXT_WORDS; i++) {
        uint64_t word;
        memcpy(&word, text + 8 * i, sizeof word);
        atomic_init(&slot->text[i], word);
    }
    origin->slot = slot;
    origin->time_ns = -1;
    origin->band = from->band_bps / 1e4;
    origin->weight = from->weight;
    memcpy(origin->currency, from->currency, strlen(from->currency));
    slot->id = from->id;
    slot->link = from->link;
    slot->exchange = (uint8_t)row->number;
    slot->price_at = origin->head_len;
}

static void index_add(beast_layout *layout, uint64_t hash, uint32_t slot)
{
    uint32_t at = (uint32_t)hash & layout->mask;
    while (layout->index[at] != 0)
        at = (at + 1) & layout->mask;
    layout->index[at] = (hash >> 32 << 32) | (slot + 1);
}

/* The asset's slots from `first` on have been placed; those that may vote learn for what. */
static void place_consensus(beast_layout *layout, beast_slot *first, beast_origin *consensus)
{
    consensus->slot->tailed = true;
    consensus->next = layout->first_consensus;
    layout->first_consensus = consensus;
    for (uint32_t i = 0; i < first->siblings; i++) {
        beast_origin *source = &layout->origins[first[i].id];
        if (source->weight > 0 && strcmp(source->currency, consensus->currency) == 0)
            source->consensus = consensus;
    }
}

static bool place_rows(beast_layout *layout, const row *rows, uint32_t n)
{
    beast_slot *first = NULL;
    for (uint32_t i = 0, at = 0; i < n; i++, at++) {
        beast_slot *slot = &layout->slots[at];
        beast_origin *origin = &layout->origins[rows[i].from->id];
        bool begins = i == 0 || memcmp(rows[i].asset.word, rows[i - 1].asset.word, sizeof rows[i].asset.word) != 0;
        fill_slot(slot, origin, &rows[i]);
        if (begins)
            first = slot;
        origin->first = first;
        uint64_t pair = beast_place_hash(rows[i].hash, rows[i].number);
        uint32_t count;
        if (beast_layout_find(layout, rows[i].number, &rows[i].asset, pair, &count))
            return false;
        index_add(layout, pair, at);
        if (is_consensus(&rows[i])) {
            place_consensus(layout, first, origin);
            at += BEAST_TAIL_SLOTS;
            continue;
        }
        if (begins)
            index_add(layout, rows[i].hash, at);
        first->siblings++;
    }
    return true;
}

static uint32_t count_slots(const beast_instrument *list, uint32_t n)
{
    uint32_t slots = n;
    for (uint32_t i = 0; i < n; i++)
        if (list[i].exchange && strcmp(list[i].exchange, BEAST_CONSENSUS_NAME) == 0)
            slots += BEAST_TAIL_SLOTS;
    return slots;
}

static bool allocate(beast_layout *layout, uint32_t n, uint32_t slots, uint32_t max)
{
    uint32_t capacity = 16;
    while (capacity < 4 * n) /* at most two entries an instrument, half full */
        capacity *= 2;
    layout->mask = capacity - 1;
    layout->n_slots = slots + 1;
    layout->index = beast_pages_new(capacity * sizeof *layout->index);
    layout->origins = calloc(max + 1, sizeof *layout->origins);
    layout->slots = beast_pages_new(layout->n_slots * sizeof *layout->slots);
    return layout->index && layout->origins && layout->slots;
}

beast_layout *beast_layout_build(const beast_instrument *list, uint32_t n, uint32_t max_instruments)
{
    beast_layout *layout = n <= max_instruments ? calloc(1, sizeof *layout) : NULL;
    row *rows = layout ? calloc(n + 1, sizeof *rows) : NULL;
    errno = n <= max_instruments ? ENOMEM : EINVAL;
    bool good = false;
    if (rows && allocate(layout, n, count_slots(list, n), max_instruments)) {
        errno = EINVAL;
        good = read_rows(layout, rows, list, n, max_instruments) && place_rows(layout, rows, n);
    }
    free(rows);
    if (good)
        return layout;
    int why = errno;
    beast_layout_free(layout);
    errno = why;
    return NULL;
}

void beast_layout_free(beast_layout *layout)
{
    if (!layout)
        return;
    beast_pages_free(layout->index, ((size_t)layout->mask + 1) * sizeof *layout->index);
    free(layout->origins);
    beast_pages_free(layout->slots, layout->n_slots * sizeof *layout->slots);
    free(layout);
}
