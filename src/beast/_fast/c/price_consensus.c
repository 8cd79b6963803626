/* A consensus in the price table: the votes of an asset's exchanges, and what the answer says of them. */
#include <string.h>

#include "consensus.h"
#include "price_layout.h"

/* Between two sweeps a consensus must not run out: it lasts so much longer than the trade that it is made of. */
#define GRACE_NS (2 * BEAST_SWEEP_NS)

static_assert(BEAST_VOTES_MAX >= BEAST_EXCHANGES_MAX, "every exchange can vote");

static const char *const REASONS[] = {
    [BEAST_STANDING_QUIET] = "quiet",
    [BEAST_STANDING_STALE] = "stale",
    [BEAST_STANDING_HELD] = "held",
    [BEAST_STANDING_OUTLIER] = "outlier",
};

/* The sources of one consensus, in order of priority. */
typedef struct sources {
    const beast_layout *layout;
    uint32_t n;
    const beast_origin *origin[BEAST_VOTES_MAX];
    beast_vote vote[BEAST_VOTES_MAX];
} sources;

static beast_standing standing_of(beast_price_table *table, const beast_origin *origin, int64_t now_ns)
{
    static const beast_standing standings[] = {
        [BEAST_STATE_LIVE] = BEAST_STANDING_LIVE,
        [BEAST_STATE_QUIET] = BEAST_STANDING_QUIET,
        [BEAST_STATE_STALE] = BEAST_STANDING_STALE,
    };
    const beast_freshness freshness = beast_table_freshness(table);
    beast_price price;
    if (origin->held)
        return BEAST_STANDING_HELD;
    if (!beast_slot_read(origin->slot, &price))
        return BEAST_STANDING_STALE;
    return standings[beast_price_state(&price, beast_table_link(table, price.link), now_ns, &freshness)];
}

static void gather(beast_price_table *table, const beast_origin *consensus, int64_t now_ns, sources *all)
{
    const beast_slot *first = consensus->first;
    for (uint32_t i = 0; i < first->siblings; i++) {
        const beast_origin *source = &all->layout->origins[first[i].id];
        if (source->consensus != consensus)
            continue;
        all->origin[all->n] = source;
        all->vote[all->n++] = (beast_vote){source->value, source->weight, standing_of(table, source, now_ns)};
    }
}

/* ---- the answer's words ---- */

#define PUT(out, literal) (memcpy((out), (literal), sizeof(literal) - 1), (out) + sizeof(literal) - 1)

static uint8_t *put_text(uint8_t *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

static uint8_t *put_number(uint8_t *out, uint64_t value)
{
    uint8_t digits[20], *at = digits + sizeof digits;
    do {
        *--at = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    return put_text(out, (const char *)at, (size_t)(digits + sizeof digits - at));
}

static uint8_t *put_name(uint8_t *out, const sources *all, uint32_t i)
{
    const char *name = (const char *)all->layout->exchange[all->origin[i]->slot->exchange - 1];
    *out++ = '"';
    out = put_text(out, name, strnlen(name, BEAST_EXCHANGE_MAX));
    *out++ = '"';
    return out;
}

#define USED_MORE ",\"sources_used_more\":64"
#define EXCLUDED ",\"sources_excluded\":["
#define EXCLUDED_MORE ",\"sources_excluded_more\":64"
#define SPREAD ",\"spread_bps\":"
#define SPREAD_TENTHS_MAX 9999999999.0
#define NAME_MAX (BEAST_EXCHANGE_MAX + 3) /* with its quotes and a comma */
#define EXCLUSION_MAX (sizeof "{\"exchange\":,\"reason\":\"outlier\"}" - 1 + NAME_MAX)
/* What must still find room behind the last name, and behind the last exclusion. */
#define BEHIND_EXCLUDED (sizeof "]" EXCLUDED_MORE SPREAD "999999999.9" - 1)
#define BEHIND_USED (sizeof "]" USED_MORE EXCLUDED - 1 + BEHIND_EXCLUDED)

static uint8_t *put_used(uint8_t *out, const uint8_t *end, const sources *all)
{
    uint32_t listed = 0, more = 0;
    out = PUT(out, ",\"sources_used\":[");
    for (uint32_t i = 0; i < all->n; i++) {
        if (all->vote[i].standing != BEAST_STANDING_LIVE)
            continue;
        if (more || end - out < (ptrdiff_t)(NAME_MAX + BEHIND_USED)) {
            more++;
            continue;
        }
        if (listed++)
            *out++ = ',';
        out = put_name(out, all, i);
    }
    *out++ = ']';
    return more ? put_number(PUT(out, ",\"sources_used_more\":"), more) : out;
}

static uint8_t *put_excluded(uint8_t *out, const uint8_t *end, const sources *all)
{
    uint32_t listed = 0, more = 0;
    out = PUT(out, EXCLUDED);
    for (uint32_t i = 0; i < all->n; i++) {
        if (all->vote[i].standing == BEAST_STANDING_LIVE)
            continue;
        if (more || end - out < (ptrdiff_t)(EXCLUSION_MAX + BEHIND_EXCLUDED)) {
            more++;
            continue;
        }
        const char *reason = REASONS[all->vote[i].standing];
        if (listed++)
            *out++ = ',';
        out = put_name(PUT(out, "{\"exchange\":"), all, i);
        out = put_text(PUT(out, ",\"reason\":\""), reason, strlen(reason));
        out = PUT(out, "\"}");
    }
    *out++ = ']';
    return more ? put_number(PUT(out, ",\"sources_excluded_more\":"), more) : out;
}

static uint8_t *put_spread(uint8_t *out, double spread)
{
    double tenths = spread * 1e5;
    uint64_t rounded = (uint64_t)((tenths < SPREAD_TENTHS_MAX ? tenths : SPREAD_TENTHS_MAX - 1) + 0.5);
    out = put_number(PUT(out, SPREAD), rounded / 10);
    *out++ = '.';
    *out++ = (uint8_t)('0' + rounded % 10);
    return out;
}

/* ---- into the table ---- */

static void publish(beast_origin *consensus, const sources *all, const beast_consensus *found)
{
    const beast_origin *chosen = all->origin[found->chosen];
    uint8_t tail[BEAST_TAIL_MAX], text[BEAST_SLOT_TEXT];
    beast_price price;
    uint8_t *end = put_used(tail, tail + sizeof tail, all);
    end = put_spread(put_excluded(end, tail + sizeof tail, all), found->spread);
    beast_slot_copy(chosen->slot, &price, text);
    const beast_quote quote = {
        .price = text + price.price_at,
        .price_len = price.price_len,
        .value = chosen->value,
        .time_ns = chosen->time_ns,
        .received_ns = price.received_ns,
        .fresh_ns = price.fresh_ns + GRACE_NS,
        .tier = 1,
    };
    beast_origin_publish(consensus, &quote, tail, (uint32_t)(end - tail));
}

static void refuse(beast_origin *consensus, uint32_t used, uint32_t quorum)
{
    uint8_t text[BEAST_SLOT_TEXT];
    uint8_t *end = PUT(text, "\"error\":\"unavailable\",\"message\":\"the consensus needs ");
    end = put_number(end, quorum);
    end = put_number(PUT(end, " live sources that agree and has "), used);
    *end++ = '"';
    beast_origin_forget(consensus, text, (uint32_t)(end - text));
}

void beast_origin_agree(beast_price_table *table, const beast_layout *layout, beast_origin *origin, int64_t now_ns)
{
    const beast_price_rules *rules = beast_table_rules(table);
    sources all = {.layout = layout};
    gather(table, origin, now_ns, &all);
    beast_consensus found = beast_consensus_find(all.vote, all.n, rules->outlier);
    origin->dirty = false;
    if (found.used > 0 && found.used >= rules->quorum)
        publish(origin, &all, &found);
    else
        refuse(origin, found.used, rules->quorum);
}

void beast_layout_agree(beast_price_table *table, const beast_layout *layout, int64_t now_ns)
{
    for (beast_origin *each = layout->first_consensus; each; each = each->next)
        beast_origin_agree(table, layout, each, now_ns);
}
