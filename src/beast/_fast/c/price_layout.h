/* The inside of the price table: slots, index and what its writer keeps besides. For price_*.c only. */
#ifndef BEAST_PRICE_LAYOUT_H
#define BEAST_PRICE_LAYOUT_H

#include <assert.h>

#include "price_table.h"

#define BEAST_TEXT_WORDS (BEAST_SLOT_TEXT / 8)

/* The text is five constant pieces around the four that vary:
 *     head {"asset":"A","price":   body ,"currency":"C","exchange":"E","source":"E-   way ws","timestamp":" */
#define BEAST_HEAD_MAX (sizeof "{\"asset\":\"\",\"price\":" - 1 + BEAST_ASSET_MAX)
#define BEAST_BODY_LEN_MAX                                                                        \
    (sizeof ",\"currency\":\"\",\"exchange\":\"\",\"source\":\"-" - 1 + BEAST_CURRENCY_MAX + 2 * BEAST_EXCHANGE_MAX)
#define BEAST_WAY_MAX (sizeof "rest\",\"timestamp\":\"" - 1)

static_assert(BEAST_HEAD_MAX + BEAST_PRICE_MAX + BEAST_BODY_LEN_MAX + BEAST_WAY_MAX + BEAST_TIME_MAX + 1 <=
                  BEAST_SLOT_TEXT,
              "the longest names, price and time fit into a slot");

/* Where the asset's name stands in every slot: its bytes and those around them never change. */
#define BEAST_ASSET_AT (sizeof "{\"asset\":\"" - 1)

/* What isn't atomic never changes while the layout lives. The first line holds all that chooses a source. */
struct beast_slot {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t sequence; /* odd: being written */
    _Atomic uint32_t epoch;
    _Atomic int64_t received_ns;
    _Atomic int64_t fresh_ns;
    _Atomic uint32_t shape; /* that of beast_price */
    uint32_t id;
    uint16_t link;
    uint16_t siblings; /* in the first slot of an asset: how many it has; else 0 */
    uint8_t exchange;  /* number in this layout, from 1 */
    uint8_t price_at;
    uint16_t reserved;
    _Atomic uint64_t text[BEAST_TEXT_WORDS];
};
static_assert(sizeof(struct beast_slot) == 4 * BEAST_CACHE_LINE, "a slot is four cache lines");

/* What the writer keeps of an instrument, by its id: cold to readers. */
typedef struct beast_origin {
    beast_slot *slot; /* NULL: no such instrument */
    int64_t time_ns;  /* of the trade held */
    uint8_t head_len, body_len;
    char head[BEAST_HEAD_MAX];
    char body[BEAST_BODY_LEN_MAX];
} beast_origin;

struct beast_layout {
    uint64_t *index; /* tag << 32 | slot + 1; 0: free. Open addressing, at most half full */
    uint32_t mask;
    uint32_t n_slots;
    beast_slot *slots;
    uint32_t n_exchanges;
    uint64_t exchange[BEAST_EXCHANGES_MAX][2];
    beast_origin *origins; /* by instrument id */
};

/* NULL with errno EINVAL or ENOMEM. Every slot holds its constant head, and no price. */
beast_layout *beast_layout_build(const beast_instrument *list, uint32_t n, uint32_t max_instruments);
void beast_layout_free(beast_layout *layout);

/* Decimal text as JSON writes numbers, without sign and exponent. */
bool beast_is_decimal(const uint8_t *text, uint32_t len);

#endif
