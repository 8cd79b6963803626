/* One asset's prices beside each other: the writer's side. */
#include <math.h>
#include <string.h>

#include "price_layout.h"

static bool is_live(beast_price_table *table, const beast_slot *slot, int64_t now_ns)
{
    const beast_freshness freshness = beast_table_freshness(table);
    beast_price price;
    return beast_slot_read(slot, &price) &&
           beast_price_state(&price, beast_table_link(table, price.link), now_ns, &freshness) == BEAST_STATE_LIVE;
}

double beast_price_band(const beast_price_table *table, uint32_t id)
{
    const beast_origin *origin = beast_table_origin(table, id);
    if (!origin)
        return -1;
    return origin->band < 0 ? beast_table_rules(table)->band : origin->band;
}

/* Inserts into an ordered row. */
static void insert(double *row, uint32_t n, double value)
{
    for (; n > 0 && row[n - 1] > value; n--)
        row[n] = row[n - 1];
    row[n] = value;
}

double beast_price_others(beast_price_table *table, uint32_t id, int64_t now_ns)
{
    const beast_origin *own = beast_table_origin(table, id);
    double found[BEAST_EXCHANGES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; own && i < own->first->siblings; i++) {
        const beast_origin *other = beast_table_origin(table, own->first[i].id);
        if (other != own && !other->held && strcmp(other->currency, own->currency) == 0 &&
            is_live(table, other->slot, now_ns))
            insert(found, n++, other->value);
    }
    return n ? found[(n - 1) / 2] : NAN;
}
