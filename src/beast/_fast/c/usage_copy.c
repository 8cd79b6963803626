#include "usage_copy.h"

#include <stdbool.h>
#include <string.h>

#include "price_table.h"

#define COLUMNS 15
#define US_TO_2000 INT64_C(946684800000000) /* from 1970, where PostgreSQL doesn't begin */
#define TEXT_MAX 8                           /* of the words below */

typedef struct word {
    uint8_t len;
    char text[TEXT_MAX];
} word;

static const word PROTOCOLS[] = {{3, "udp"}, {4, "http"}, {4, "http"}};
static const word STATES[] = {{4, "live"}, {5, "quiet"}, {5, "stale"}};
static const word WAYS[] = {{3, "-ws"}, {5, "-rest"}, {7, "-median"}};
_Static_assert(BEAST_PROTOCOL_ASGI == 2 && BEAST_STATE_STALE == 2 && BEAST_WAY_MEDIAN == 2, "as in the lists above");

static inline uint8_t *put16(uint8_t *out, uint16_t value)
{
    value = __builtin_bswap16(value);
    return (uint8_t *)memcpy(out, &value, sizeof value) + sizeof value;
}

static inline uint8_t *put32(uint8_t *out, uint32_t value)
{
    value = __builtin_bswap32(value);
    return (uint8_t *)memcpy(out, &value, sizeof value) + sizeof value;
}

static inline uint8_t *put64(uint8_t *out, uint64_t value)
{
    value = __builtin_bswap64(value);
    return (uint8_t *)memcpy(out, &value, sizeof value) + sizeof value;
}

/* Fields: their length, then their bytes. */
static inline uint8_t *field16(uint8_t *out, uint16_t value) { return put16(put32(out, 2), value); }
static inline uint8_t *field32(uint8_t *out, uint32_t value) { return put32(put32(out, 4), value); }
static inline uint8_t *field64(uint8_t *out, uint64_t value) { return put64(put32(out, 8), value); }

/* Words and names are copied with all of their room, which is cheaper than by their length. What is copied too much is
 * written over: behind the last name of a row stands more than a name's room, behind the last word more than a word's. */

static inline uint8_t *put_word(uint8_t *out, const word *word)
{
    memcpy(out, word->text, TEXT_MAX);
    return out + word->len;
}

static inline uint8_t *field_word(uint8_t *out, const word *word) { return put_word(put32(out, word->len), word); }

static inline uint8_t *put_name(uint8_t *out, const uint8_t *name, uint32_t len)
{
    memcpy(out, name, BEAST_COPY_NAME_MAX);
    return out + len;
}

static inline uint8_t *field_name(uint8_t *out, const uint8_t *name, uint32_t len)
{
    return put_name(put32(out, len), name, len);
}

static inline uint8_t *field_source(uint8_t *out, const beast_copy_name *name, const word *way)
{
    out = put32(out, name->exchange_len + (uint32_t)way->len);
    return put_word(put_name(out, name->exchange, name->exchange_len), way);
}

/* PostgreSQL's integers are signed. */
static inline uint32_t cap32(uint32_t value) { return value < INT32_MAX ? value : INT32_MAX; }

static inline int64_t us_since_2000(int64_t time_ns)
{
    return time_ns / 1000 - (time_ns % 1000 < 0) - US_TO_2000;
}

static uint8_t *put_row(uint8_t *out, const beast_copy *copy, const beast_usage *record)
{
    const beast_copy_name *name = &copy->names[record->instrument];

    out = put16(out, COLUMNS);
    out = field64(out, (uint64_t)us_since_2000(record->time_ns));
    out = field64(out, record->key_id);
    out = field_name(out, name->asset, name->asset_len);
    out = field_name(out, name->exchange, name->exchange_len);
    out = field_source(out, name, &WAYS[record->way]);
    out = field_name(out, copy->node, copy->node_len);
    out = field64(out, (uint64_t)copy->boot);
    out = field16(out, record->lane);
    out = field64(out, record->sequence);
    out = field_word(out, &PROTOCOLS[record->protocol]);
    out = field_word(out, &STATES[record->state]);
    out = field16(out, record->tier);
    out = field16(out, record->prices);
    out = field32(out, cap32(record->age_ms));
    if (record->latency_ns == 0)
        return put32(out, UINT32_MAX); /* NULL: not measured */
    return field32(out, cap32(record->latency_ns));
}

static inline bool is_in_range(const beast_usage *record)
{
    return record->protocol <= BEAST_PROTOCOL_ASGI && record->state <= BEAST_STATE_STALE &&
           record->way <= BEAST_WAY_MEDIAN && record->prices <= INT16_MAX && record->key_id <= INT64_MAX &&
           record->sequence <= INT64_MAX;
}

static size_t row_len(const beast_copy *copy, const beast_usage *record)
{
    const size_t fixed = 2 + COLUMNS * 4 + 4 * 8 + 3 * 2 + 4; /* all but texts and what may be NULL */
    const beast_copy_name *name = &copy->names[record->instrument];

    return fixed + copy->node_len + name->asset_len + 2u * name->exchange_len + WAYS[record->way].len +
           PROTOCOLS[record->protocol].len + STATES[record->state].len + (record->latency_ns ? 4 : 0);
}

beast_status beast_copy_measure(const beast_copy *copy, const beast_usage *records, uint32_t n, size_t *len,
                                uint32_t *which)
{
    *len = 0;
    for (*which = 0; *which < n; ++*which) {
        const beast_usage *record = &records[*which];
        if (record->instrument >= copy->n_names || !copy->names[record->instrument].asset)
            return BEAST_NOT_FOUND;
        if (!is_in_range(record))
            return BEAST_BAD_ARGUMENT;
        *len += row_len(copy, record);
    }
    return BEAST_OK;
}

void beast_copy_rows(const beast_copy *copy, const beast_usage *records, uint32_t n, uint8_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out = put_row(out, copy, &records[i]);
}
