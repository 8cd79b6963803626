/* The price table: text, order, loading. Its threads are tested in test_price_threads.c. */
#include "harness.h"
#include "price_layout.h"
#include "price_table.h"

#define SECOND INT64_C(1000000000)
#define NOON INT64_C(1775995381123456000) /* 2026-04-12T12:03:01.123456Z */

static const beast_readers nobody;

static beast_name fold(const char *text, bool upper)
{
    beast_name name;
    memset(&name, 0, sizeof name);
    beast_name_fold(&name, (const uint8_t *)text, (uint32_t)strlen(text), upper);
    return name;
}

static const beast_slot *asset_slot(const beast_price_table *table, const char *asset, uint32_t *count)
{
    beast_name name = fold(asset, true);
    const beast_layout *layout = beast_layout_now(table);
    uint64_t hash = beast_name_hash(&name);
    beast_layout_prefetch(layout, hash);
    return beast_layout_find(layout, 0, &name, hash, count);
}

static const beast_slot *pair_slot(const beast_price_table *table, const char *exchange, const char *asset)
{
    beast_name name = fold(asset, true), where = fold(exchange, false);
    const beast_layout *layout = beast_layout_now(table);
    uint32_t number = beast_layout_exchange(layout, &where);
    uint32_t count;
    return number ? beast_layout_find(layout, number, &name, beast_place_hash(beast_name_hash(&name), number), &count) : NULL;
}

static beast_status publish(beast_price_table *table, uint32_t id, const char *price, int64_t time_ns)
{
    size_t len = strlen(price);
    return beast_price_publish(table, id, harness_at_end(price, len), (uint32_t)len, time_ns, 5 * SECOND, 4 * SECOND,
                               3, 1);
}

static void check_text(const beast_slot *slot, const char *want)
{
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    CHECK(beast_slot_copy(slot, &price, text));
    CHECK_TEXT(text, price.text_len, want);
}

static void times_are_those_of_the_c_library(void)
{
    uint64_t random = 3;
    uint8_t out[64];
    for (int i = 0; i < 200000; i++) {
        int64_t time_ns = (int64_t)(harness_random(&random) >> 1);
        if (i % 2)
            time_ns -= time_ns % 1000;
        time_t seconds = time_ns / SECOND;
        struct tm date;
        gmtime_r(&seconds, &date);
        char want[64];
        size_t len = strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S", &date);
        if (time_ns % 1000)
            snprintf(want + len, sizeof want - len, ".%09dZ", (int)(time_ns % SECOND));
        else
            snprintf(want + len, sizeof want - len, ".%06dZ", (int)(time_ns % SECOND / 1000));
        CHECK_TEXT(out, beast_write_time(out, time_ns), want);
    }
}

static void times_at_the_edges(void)
{
    static const struct {
        int64_t time_ns;
        const char *text;
    } known[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000000001Z"},
        {951782400 * SECOND - 1, "2000-02-28T23:59:59.999999999Z"},
        {951782400 * SECOND, "2000-02-29T00:00:00.000000Z"},
        {4107542400 * SECOND, "2100-03-01T00:00:00.000000Z"},
        {NOON, "2026-04-12T12:03:01.123456Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
    };
    uint8_t out[64];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK_TEXT(out, beast_write_time(out, known[i].time_ns), known[i].text);
    CHECK_EQ(beast_write_time(out, -1), 0);
    CHECK_EQ(beast_write_time(out, INT64_MIN), 0);
}

static void decimals_are_those_of_json(void)
{
    static const char *const good[] = {"0", "0.0", "1", "10", "83421.57", "0.00000001", "12345678901234567890123"};
    static const char *const bad[] = {"", ".", "1.", ".5", "00", "01.5", "-1", "+1", "1e5", "1 ", " 1", "1.2.3", "nan"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(beast_is_decimal(harness_at_end(good[i], strlen(good[i])), (uint32_t)strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!beast_is_decimal(harness_at_end(bad[i], strlen(bad[i])), (uint32_t)strlen(bad[i])));
}

static const beast_instrument TRIO[] = {
    {7, "BTC", "kraken", "USD", 20, 2, -1, 1},
    {3, "BTC", "coinbase", "USD", 10, 1, -1, 1},
    {9, "BTC", "bitfinex", "USDT", 20, 0, -1, 1},
    {1, "ETH", "kraken", "USD", 20, 2, -1, 1},
};

static beast_price_table *trio(void)
{
    beast_price_table *table = beast_price_table_new(16);
    CHECK_EQ(beast_price_table_load(table, TRIO, 4, &nobody), BEAST_OK);
    return table;
}

static void an_empty_table_knows_nothing(void)
{
    beast_price_table *table = beast_price_table_new(16);
    uint32_t count = 77;
    CHECK(asset_slot(table, "BTC", &count) == NULL);
    CHECK(pair_slot(table, "kraken", "BTC") == NULL);
    CHECK_EQ(publish(table, 3, "1", NOON), BEAST_NOT_FOUND);
    CHECK_EQ(beast_price_table_load(table, NULL, 0, &nobody), BEAST_OK);
    beast_price_table_free(table);
    CHECK(beast_price_table_new(UINT32_MAX) == NULL);
    table = beast_price_table_new(0);
    CHECK_EQ(beast_price_table_load(table, NULL, 0, &nobody), BEAST_OK);
    CHECK_EQ(publish(table, 0, "1", NOON), BEAST_NOT_FOUND);
    beast_price_table_free(table);
}

static void a_trade_becomes_its_answer(void)
{
    beast_price_table *table = trio();
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    const beast_slot *slot = pair_slot(table, "COINBASE", "btc");
    CHECK_EQ(beast_slot_id(slot), 3);
    CHECK(!beast_slot_copy(slot, &price, text));
    CHECK_EQ(beast_price_time(table, 3), -1);

    CHECK_EQ(publish(table, 3, "83421.57", NOON), BEAST_OK);
    check_text(slot, "{\"asset\":\"BTC\",\"price\":83421.57,\"currency\":\"USD\",\"exchange\":\"coinbase\","
                     "\"source\":\"coinbase-ws\",\"timestamp\":\"2026-04-12T12:03:01.123456Z\"");
    CHECK(beast_slot_copy(slot, &price, text));
    CHECK_EQ(price.received_ns, 5 * SECOND);
    CHECK_EQ(price.fresh_ns, 4 * SECOND);
    CHECK_EQ(price.epoch, 3);
    CHECK_EQ(price.link, 1);
    CHECK_EQ(price.tier, 1);
    CHECK_TEXT((char *)text + price.price_at, price.price_len, "83421.57");
    CHECK_TEXT((char *)text + price.timestamp_at, price.timestamp_len, "2026-04-12T12:03:01.123456Z");
    CHECK_EQ(beast_price_time(table, 3), NOON);
    CHECK(beast_price_slot(table, 3) == slot);

    CHECK_EQ(beast_price_publish(table, 3, (const uint8_t *)"1.5", 3, 1, 6 * SECOND, 6 * SECOND, 0, 3), BEAST_OK);
    check_text(slot, "{\"asset\":\"BTC\",\"price\":1.5,\"currency\":\"USD\",\"exchange\":\"coinbase\","
                     "\"source\":\"coinbase-rest\",\"timestamp\":\"1970-01-01T00:00:00.000000001Z\"");

    beast_price_forget(table, 3);
    CHECK(!beast_slot_copy(slot, &price, text));
    CHECK_EQ(beast_price_time(table, 3), -1);
    beast_price_forget(table, 999);
    beast_price_table_free(table);
}

static void the_longest_of_everything_fits(void)
{
    beast_price_table *table = beast_price_table_new(1);
    const beast_instrument longest = {0, "ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnop", "ABCDEFGHIJ", 0, 0, -1, 1};
    const char *price = "12345678901234567890.1234567890123456789";
    CHECK_EQ(beast_price_table_load(table, &longest, 1, &nobody), BEAST_OK);
    CHECK_EQ(beast_price_publish(table, 0, (const uint8_t *)price, 40, INT64_MAX, 1, 1, 1, 3), BEAST_OK);
    uint32_t count;
    check_text(asset_slot(table, longest.asset, &count),
               "{\"asset\":\"ABCDEFGHIJKLMNOPQRST\",\"price\":12345678901234567890.1234567890123456789,\"currency\":"
               "\"ABCDEFGHIJ\",\"exchange\":\"abcdefghijklmnop\",\"source\":\"abcdefghijklmnop-rest\",\"timestamp\":"
               "\"2262-04-11T23:47:16.854775807Z\"");
    beast_price_table_free(table);
}

static void bad_trades_change_nothing(void)
{
    beast_price_table *table = trio();
    const uint8_t *digits = (const uint8_t *)"123456789012345678901234567890123456789012345";
    CHECK_EQ(publish(table, 3, "2.5", NOON), BEAST_OK);
    CHECK_EQ(publish(table, 3, "", NOON), BEAST_BAD_ARGUMENT);
    CHECK_EQ(publish(table, 3, "-1", NOON), BEAST_BAD_ARGUMENT);
    CHECK_EQ(publish(table, 3, "1e5", NOON), BEAST_BAD_ARGUMENT);
    CHECK_EQ(publish(table, 3, "1", -1), BEAST_BAD_ARGUMENT);
    CHECK_EQ(publish(table, 4, "1", NOON), BEAST_NOT_FOUND);
    CHECK_EQ(publish(table, 16, "1", NOON), BEAST_NOT_FOUND);
    CHECK_EQ(beast_price_publish(table, 3, digits, 41, NOON, 1, 1, 1, 1), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_price_publish(table, 3, digits, 1, NOON, 0, 1, 1, 1), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_price_publish(table, 3, digits, 1, NOON, 1, 1, 1, 0), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_price_publish(table, 3, digits, 1, NOON, 1, 1, 1, 4), BEAST_BAD_ARGUMENT);
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    CHECK(beast_slot_copy(beast_price_slot(table, 3), &price, text));
    CHECK_TEXT((char *)text + price.price_at, price.price_len, "2.5");
    beast_price_table_free(table);
}

static void sources_stand_in_the_operators_order(void)
{
    beast_price_table *table = trio();
    uint32_t count = 0;
    const beast_slot *slot = asset_slot(table, "BTC", &count);
    CHECK_EQ(count, 3);
    CHECK_EQ(beast_slot_id(slot), 3);
    slot = beast_slot_next(slot);
    CHECK_EQ(beast_slot_id(slot), 9); /* bitfinex before kraken at one priority */
    CHECK_EQ(beast_slot_id(beast_slot_next(slot)), 7);
    CHECK_EQ(beast_slot_id(asset_slot(table, "ETH", &count)), 1);
    CHECK_EQ(count, 1);
    beast_price_table_free(table);
}

static void only_whole_names_match(void)
{
    static const char *const others[] = {"", "B", "BT", "BTCC", "BTC\"", "BTC\",\"price", "ETHBTC", "BTD",
                                         "BTCBTCBTCBTCBTCBTCBT", "BTCBTCBTCBTCBTCBTCBTC"};
    beast_price_table *table = trio();
    uint32_t count;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(asset_slot(table, others[i], &count) == NULL);
        CHECK(pair_slot(table, "kraken", others[i]) == NULL);
        CHECK(pair_slot(table, others[i], "BTC") == NULL);
    }
    CHECK(pair_slot(table, "coinbase", "ETH") == NULL);
    beast_price_table_free(table);
}

static void a_bad_list_changes_nothing(void)
{
    static const beast_instrument bad[][2] = {
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {0, "ETH", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "BTC", "kraken", "EUR", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {16, "ETH", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", "kraken", "USD", 0, BEAST_LINKS_MAX, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "eth", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "E\"H", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ABCDEFGHIJKLMNOPQRSTU", "kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", "Kraken", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", "abcdefghijklmnopq", "USD", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", "kraken", "", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", "kraken", "ABCDEFGHIJK", 0, 0, -1, 1}},
        {{0, "BTC", "kraken", "USD", 0, 0, -1, 1}, {1, "ETH", NULL, "USD", 0, 0, -1, 1}},
    };
    beast_price_table *table = trio();
    CHECK_EQ(publish(table, 3, "2.5", NOON), BEAST_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(beast_price_table_load(table, bad[i], 2, &nobody), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_price_table_load(table, TRIO, 17, &nobody), BEAST_BAD_ARGUMENT);
    uint32_t count;
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    CHECK(beast_slot_copy(asset_slot(table, "BTC", &count), &price, text));
    CHECK_EQ(count, 3);
    beast_price_table_free(table);
}

static void exchanges_are_limited(void)
{
    beast_price_table *table = beast_price_table_new(100);
    static beast_instrument list[BEAST_EXCHANGES_MAX + 1];
    static char names[BEAST_EXCHANGES_MAX + 1][8];
    for (uint32_t i = 0; i <= BEAST_EXCHANGES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "x%u", i);
        list[i] = (beast_instrument){i, "BTC", names[i], "USD", (int32_t)i, 0, -1, 1};
    }
    CHECK_EQ(beast_price_table_load(table, list, BEAST_EXCHANGES_MAX + 1, &nobody), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_price_table_load(table, list, BEAST_EXCHANGES_MAX, &nobody), BEAST_OK);
    for (uint32_t i = 0; i < BEAST_EXCHANGES_MAX; i++)
        CHECK_EQ(beast_slot_id(pair_slot(table, names[i], "BTC")), i);
    beast_price_table_free(table);
}

static void prices_carry_over_a_load(void)
{
    static const beast_instrument next[] = {
        {5, "BTC", "coinbase", "USD", 30, 1, -1, 1}, /* another id, another place */
        {7, "BTC", "kraken", "EUR", 20, 2, -1, 1},   /* another currency */
        {9, "BTC", "bitfinex", "USDT", 1, 8, -1, 1}, /* another link */
        {2, "ETH", "coinbase", "USD", 1, 1, -1, 1},
    };
    beast_price_table *table = trio();
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(publish(table, TRIO[i].id, "1.25", NOON + 1 + (int64_t)i), BEAST_OK);
    CHECK_EQ(beast_price_table_load(table, next, 4, &nobody), BEAST_OK);

    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    CHECK(beast_slot_copy(beast_price_slot(table, 5), &price, text));
    check_text(pair_slot(table, "coinbase", "BTC"),
               "{\"asset\":\"BTC\",\"price\":1.25,\"currency\":\"USD\",\"exchange\":\"coinbase\",\"source\":"
               "\"coinbase-ws\",\"timestamp\":\"2026-04-12T12:03:01.123456002Z\"");
    CHECK_EQ(price.epoch, 3);
    CHECK_EQ(price.received_ns, 5 * SECOND);
    CHECK_EQ(price.fresh_ns, 4 * SECOND);
    CHECK_EQ(beast_price_time(table, 5), NOON + 2);
    CHECK(!beast_slot_copy(beast_price_slot(table, 7), &price, text));
    CHECK(!beast_slot_copy(beast_price_slot(table, 2), &price, text));
    CHECK(beast_slot_copy(beast_price_slot(table, 9), &price, text));
    CHECK_EQ(price.epoch, 0);
    CHECK(beast_price_slot(table, 1) == NULL);
    beast_price_table_free(table);
}

static void ten_thousand_instruments_are_all_found(void)
{
    enum { N = 10000, EXCHANGES = 5 };
    static beast_instrument list[N];
    static char assets[N / EXCHANGES][BEAST_ASSET_MAX + 1];
    static const char *const exchanges[EXCHANGES] = {"coinbase", "kraken", "gemini", "okx", "gateio"};
    for (uint32_t i = 0; i < N; i++) {
        /* Lengths from 1 to 20, many sharing a beginning. */
        snprintf(assets[i / EXCHANGES], sizeof assets[0], "%.*s%u", (int)(i / EXCHANGES % 16), "ABABABABABABABABAB",
                 i / EXCHANGES);
        list[i] = (beast_instrument){i, assets[i / EXCHANGES], exchanges[i % EXCHANGES], "USD", (int32_t)(i % 3), 0, -1, 1};
    }
    beast_price_table *table = beast_price_table_new(1 << 14);
    int64_t best = INT64_MAX;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N; i++)
            CHECK(round == 0 || publish(table, i, "1.5", i) == BEAST_OK);
        int64_t before = harness_now_ns();
        CHECK_EQ(beast_price_table_load(table, list, N, &nobody), BEAST_OK);
        int64_t took = harness_now_ns() - before;
        best = took < best ? took : best;
    }
    printf("  10,000 instruments loaded in %.1f ms\n", (double)best / 1e6);
    uint32_t count = 0, wrong = 0;
    for (uint32_t i = 0; i < N; i++) {
        const beast_slot *slot = pair_slot(table, list[i].exchange, list[i].asset);
        wrong += !slot || beast_slot_id(slot) != i || beast_price_time(table, i) != i;
        slot = asset_slot(table, list[i].asset, &count);
        wrong += !slot || count != EXCHANGES || beast_slot_id(slot) / EXCHANGES != i / EXCHANGES;
    }
    CHECK_EQ(wrong, 0);
    beast_price_table_free(table);
}

int main(void)
{
    RUN(times_are_those_of_the_c_library);
    RUN(times_at_the_edges);
    RUN(decimals_are_those_of_json);
    RUN(an_empty_table_knows_nothing);
    RUN(a_trade_becomes_its_answer);
    RUN(the_longest_of_everything_fits);
    RUN(bad_trades_change_nothing);
    RUN(sources_stand_in_the_operators_order);
    RUN(only_whole_names_match);
    RUN(a_bad_list_changes_nothing);
    RUN(exchanges_are_limited);
    RUN(prices_carry_over_a_load);
    RUN(ten_thousand_instruments_are_all_found);
    return harness_report();
}
