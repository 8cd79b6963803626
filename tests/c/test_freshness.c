/* What a price is worth at a moment: by its age, and by the connection that brought it. */
#include "feed_link.h"
#include "harness.h"
#include "price_table.h"

#define SECOND INT64_C(1000000000)

static const beast_readers nobody;

static beast_price_table *one_market(void)
{
    static const beast_instrument list[] = {{1, "BTC", "kraken", "USD", 10, 1, -1, 1}};
    beast_price_table *table = beast_price_table_new(16);
    CHECK_EQ(beast_price_table_load(table, list, 1, &nobody), BEAST_OK);
    return table;
}

static void publish(beast_price_table *table, uint32_t epoch)
{
    CHECK_EQ(beast_price_publish(table, 1, (const uint8_t *)"1.5", 3, 1, 100 * SECOND, 100 * SECOND, epoch, 1), BEAST_OK);
}

static beast_state state_of(const beast_price *price, const beast_link *link, int64_t now_ns, int64_t linkless_ns)
{
    const beast_freshness freshness = {.ttl_ns = 13 * SECOND, .linkless_ns = linkless_ns};
    return beast_price_state(price, link, now_ns, &freshness);
}

static void freshness_follows_trade_and_link(void)
{
    beast_price_table *table = one_market();
    beast_link *link = beast_table_link(table, 1);
    beast_price price = {.received_ns = 100 * SECOND, .fresh_ns = 100 * SECOND, .epoch = 2, .tier = 1};
    int64_t later = 114 * SECOND;
    CHECK(beast_table_link(table, BEAST_LINKS_MAX) == NULL);
    CHECK_EQ(state_of(&price, link, 100 * SECOND, 0), BEAST_STATE_STALE); /* no connection vouches for it */
    beast_link_up(link, 5 * SECOND, 90 * SECOND);
    CHECK_EQ(beast_link_up(link, 5 * SECOND, 99 * SECOND), 2);
    CHECK_EQ(state_of(&price, link, 105 * SECOND, 0), BEAST_STATE_LIVE); /* the trade itself was the last sign of life */
    CHECK_EQ(state_of(&price, link, 105 * SECOND + 1, 0), BEAST_STATE_STALE);
    beast_link_proven(link, 110 * SECOND);
    CHECK_EQ(state_of(&price, link, 113 * SECOND, 0), BEAST_STATE_LIVE);
    CHECK_EQ(state_of(&price, link, 113 * SECOND + 1, 0), BEAST_STATE_QUIET);
    CHECK_EQ(state_of(&price, link, 115 * SECOND, 0), BEAST_STATE_QUIET);
    CHECK_EQ(state_of(&price, link, 115 * SECOND + 1, 0), BEAST_STATE_STALE);
    price.tier = 2;
    CHECK_EQ(state_of(&price, link, later, 0), BEAST_STATE_STALE);
    price.tier = 1;
    price.fresh_ns = 90 * SECOND; /* a backfill */
    CHECK_EQ(state_of(&price, link, 104 * SECOND, 0), BEAST_STATE_QUIET);
    price.epoch |= BEAST_DOUBTED;
    CHECK_EQ(state_of(&price, link, 103 * SECOND, 0), BEAST_STATE_LIVE);
    CHECK_EQ(state_of(&price, link, 104 * SECOND, 0), BEAST_STATE_STALE);
    beast_price_table_free(table);
}

static void a_connection_that_is_lost_takes_its_prices_along(void)
{
    beast_price_table *table = one_market();
    beast_link *link = beast_table_link(table, 1);
    uint32_t epoch = beast_link_up(link, 5 * SECOND, 99 * SECOND);
    beast_price price = {.received_ns = 100 * SECOND, .fresh_ns = 100 * SECOND, .epoch = epoch, .tier = 1};
    beast_price rest = {.received_ns = 100 * SECOND, .fresh_ns = 100 * SECOND, .tier = 1};
    beast_link_proven(link, 101 * SECOND);
    beast_link_down(link);
    CHECK_EQ(state_of(&price, link, 101 * SECOND, 0), BEAST_STATE_STALE);
    CHECK_EQ(state_of(&rest, link, 113 * SECOND, 0), BEAST_STATE_LIVE); /* it came another way */
    CHECK_EQ(state_of(&rest, link, 113 * SECOND + 1, 0), BEAST_STATE_STALE);
    rest.epoch = BEAST_DOUBTED;
    CHECK_EQ(state_of(&rest, link, 113 * SECOND, 0), BEAST_STATE_LIVE);
    CHECK_EQ(state_of(&price, link, 102 * SECOND, SECOND), BEAST_STATE_LIVE); /* who wants it so: since the last sign */
    CHECK_EQ(state_of(&price, link, 102 * SECOND + 1, SECOND), BEAST_STATE_STALE);
    beast_link_up(link, 5 * SECOND, 102 * SECOND);
    CHECK_EQ(state_of(&price, link, 102 * SECOND, 0), BEAST_STATE_STALE);
    CHECK_EQ(state_of(&price, link, 102 * SECOND, SECOND), BEAST_STATE_LIVE);
    CHECK_EQ(state_of(&price, link, 102 * SECOND + 1, SECOND), BEAST_STATE_STALE);
    beast_link_down(link);
    beast_link_up(link, 5 * SECOND, 103 * SECOND);
    CHECK_EQ(state_of(&price, link, 103 * SECOND, 60 * SECOND), BEAST_STATE_STALE); /* of the one before that */
    beast_price_table_free(table);
}

static void a_doubt_leaves_live_but_not_quiet(void)
{
    beast_price_table *table = one_market();
    beast_link *link = beast_table_link(table, 1);
    uint32_t epoch = beast_link_up(link, 60 * SECOND, 99 * SECOND);
    beast_price price = {.received_ns = 100 * SECOND, .fresh_ns = 100 * SECOND, .epoch = epoch, .tier = 1};
    CHECK_EQ(state_of(&price, link, 114 * SECOND, 0), BEAST_STATE_QUIET);
    CHECK_EQ(beast_link_doubt(link), epoch + 1);
    CHECK_EQ(state_of(&price, link, 113 * SECOND, 0), BEAST_STATE_LIVE);
    CHECK_EQ(state_of(&price, link, 114 * SECOND, 0), BEAST_STATE_STALE);
    price.epoch = epoch + 1;
    CHECK_EQ(state_of(&price, link, 114 * SECOND, 0), BEAST_STATE_QUIET);
    beast_price_table_free(table);
}

static void a_price_can_be_doubted(void)
{
    beast_price_table *table = one_market();
    beast_price price;
    beast_price_doubt(table, 1); /* nothing to doubt yet */
    CHECK(!beast_slot_read(beast_price_slot(table, 1), &price));
    publish(table, 3);
    beast_price_doubt(table, 1);
    CHECK(beast_slot_read(beast_price_slot(table, 1), &price));
    CHECK(price.epoch & BEAST_DOUBTED);
    publish(table, 3);
    CHECK(beast_slot_read(beast_price_slot(table, 1), &price));
    CHECK(!(price.epoch & BEAST_DOUBTED));
    beast_price_doubt(table, 99); /* nobody's */
    beast_price_table_free(table);
}

static void a_price_that_changes_its_connection_is_stale(void)
{
    static const beast_instrument elsewhere[] = {{1, "BTC", "kraken", "USD", 10, 2, -1, 1}};
    beast_price_table *table = one_market();
    beast_price price;
    uint32_t epoch = beast_link_up(beast_table_link(table, 1), 60 * SECOND, 99 * SECOND);
    CHECK_EQ(beast_link_up(beast_table_link(table, 2), 60 * SECOND, 99 * SECOND), epoch);
    publish(table, epoch);
    CHECK_EQ(beast_price_table_load(table, elsewhere, 1, &nobody), BEAST_OK);
    CHECK(beast_slot_read(beast_price_slot(table, 1), &price));
    CHECK_EQ(state_of(&price, beast_table_link(table, 2), 101 * SECOND, 0), BEAST_STATE_STALE);
    publish(table, 0);
    CHECK_EQ(beast_price_table_load(table, elsewhere, 1, &nobody), BEAST_OK);
    CHECK(beast_slot_read(beast_price_slot(table, 1), &price));
    CHECK_EQ(state_of(&price, beast_table_link(table, 2), 101 * SECOND, 0), BEAST_STATE_LIVE); /* REST's is nobody's */
    beast_price_table_free(table);
}

int main(void)
{
    RUN(freshness_follows_trade_and_link);
    RUN(a_connection_that_is_lost_takes_its_prices_along);
    RUN(a_doubt_leaves_live_but_not_quiet);
    RUN(a_price_can_be_doubted);
    RUN(a_price_that_changes_its_connection_is_stale);
    return harness_report();
}
