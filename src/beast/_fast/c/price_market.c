/* One asset's prices beside each other: the writer's side. */
#include <math.h>
#include <string.h>

#include "price_layout.h"

static bool is_live(const beast_slot *slot, int64_t now_ns, int64_t ttl_ns)
{
    return atomic_load_explicit(&slot->received_ns, memory_order_relaxed) != 0 &&
           now_ns - atomic_load_explicit(&slot->fresh_ns, memory_order_relaxed) <= ttl_ns;
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

double beast_price_others(const beast_price_table *table, uint32_t id, int64_t now_ns)
{
    const beast_origin *own = beast_table_origin(table, id);
    int64_t ttl_ns = beast_table_rules(table)->ttl_ns;
    double found[BEAST_EXCHANGES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; own && i < own->first->siblings; i++) {
        const beast_origin *other = beast_table_origin(table, own->first[i].id);
        if (other != own && !other->held && strcmp(other->currency, own->currency) == 0 &&
            is_live(other->slot, now_ns, ttl_ns))
            insert(found, n++, other->value);
    }
    return n ? found[(n - 1) / 2] : NAN;
}
