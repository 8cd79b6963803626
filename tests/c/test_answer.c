/* The answers of docs/protocol.md, byte for byte, and what each of them counts, takes and records. */
#include "engine_fixture.h"

static fixture f;

static void open_plain(void)
{
    beast_engine_config config = fixture_config();
    fixture_open(&f, &config);
}

/* The only answer, without its padding. */
static void expect(const char *datagram, const char *want)
{
    fixture_ask(&f, datagram);
    CHECK_EQ(f.count, want ? 1 : 0);
    uint32_t len = f.count ? f.lens[0] : 0;
    while (len && f.bytes[len - 1] == ' ')
        len--;
    CHECK_TEXT(f.bytes, len, want ? want : "");
}

#define ASK(rest) "{\"api_key\":\"tb_k\"," rest "}"
#define LIVE(age, tail) HEAD_BTC ",\"age_ms\":" age ",\"state\":\"live\",\"tier\":1,\"node\":\"BeastMain\"" tail "}"
#define LAST(price, age) \
    "\"last\":{\"price\":" price ",\"timestamp\":\"2026-04-12T14:23:01.123456Z\",\"age_ms\":" age "}"
#define STALE_MESSAGE "\"error\":\"stale\",\"message\":\"no price is fresh enough\""
#define UNKNOWN_MESSAGE "\"error\":\"unknown_asset\",\"message\":\"no price is kept for this asset\""

static void a_price_is_answered_and_padded(void)
{
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "83421.57", START);
    f.moment.now_ns = START + 4 * MS + 999999;
    expect(ASK("\"asset\":\"btc\",\"id\":\"a1\""), LIVE("     4", ",\"id\":\"a1\""));
    CHECK_EQ(f.lens[0], 256);
    expect(ASK("\"asset\":\"BTC\",\"exchange\":\"CoinBase\",\"id\":-7"), LIVE("     4", ",\"id\":-7"));
    expect(ASK("\"asset\":\"BTC\""), LIVE("     4", ""));
    char id[BEAST_ID_MAX + 1] = {0}, ask[256], want[512];
    memset(id, 'x', BEAST_ID_MAX);
    snprintf(ask, sizeof ask, ASK("\"asset\":\"BTC\",\"id\":\"%s\""), id);
    snprintf(want, sizeof want, LIVE("     4", ",\"id\":\"%s\""), id);
    expect(ask, want);
    CHECK_EQ(f.lens[0], 320);
    f.moment.now_ns = START - 5 * MS; /* a trade younger than the batch's clock */
    expect(ASK("\"asset\":\"BTC\""), LIVE("     0", ""));
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_syncmap_hits), 5);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), 5);
    fixture_adds_up(&f);
    fixture_close(&f);
}

static void age_takes_the_room_it_needs(void)
{
    open_plain();
    fixture_publish(&f, ADA_KRAKEN, "0.5", START);
    const struct { int64_t ms; const char *text; } ages[] = {
        {999999, "\"age_ms\":999999,"}, {1000000, "\"age_ms\":1000000,"}, {99999, "\"age_ms\": 99999,"}};
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        f.moment.now_ns = START + ages[i].ms * MS;
        fixture_ask(&f, ASK("\"asset\":\"ADA\",\"allow_stale\":true"));
        f.bytes[f.lens[0]] = 0;
        CHECK(strstr((char *)f.bytes, ages[i].text) != NULL);
        CHECK(strstr((char *)f.bytes, "\"state\":\"stale\",\"tier\":1") != NULL);
    }
    fixture_close(&f);
}

static void expect_price(const char *datagram, const char *price, const char *state)
{
    char member[64];

    fixture_ask(&f, datagram);
    CHECK_EQ(f.count, 1);
    f.bytes[f.lens[0]] = 0;
    snprintf(member, sizeof member, "\"price\":%s,", price);
    CHECK(strstr((char *)f.bytes, member) != NULL);
    snprintf(member, sizeof member, "\"state\":\"%s\"", state);
    CHECK(strstr((char *)f.bytes, member) != NULL);
}

static void the_source_is_chosen_by_freshness_then_priority(void)
{
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "1", START);
    fixture_publish(&f, BTC_KRAKEN, "2", START + SECOND);
    f.moment.now_ns = START + 2 * SECOND;
    expect_price(ASK("\"asset\":\"BTC\""), "1", "live"); /* the priority decides among live ones */
    expect_price(ASK("\"asset\":\"BTC\",\"exchange\":\"kraken\""), "2", "live");
    expect_price(ASK("\"asset\":\"BTC\",\"max_age_ms\":1000"), "2", "live"); /* the other one is too old */
    f.moment.now_ns = START + 13 * SECOND + MS;
    expect_price(ASK("\"asset\":\"BTC\""), "2", "live");
    f.moment.now_ns = START + 20 * SECOND;
    expect(ASK("\"asset\":\"BTC\",\"id\":1"), "{" STALE_MESSAGE "," LAST("2", "19000") ",\"id\":1}");
    expect_price(ASK("\"asset\":\"BTC\",\"allow_stale\":true"), "2", "stale");
    expect(ASK("\"asset\":\"BTC\",\"allow_stale\":true,\"max_age_ms\":18999"),
           "{" STALE_MESSAGE "," LAST("2", "19000") "}"); /* max_age_ms wins */
    expect_price(ASK("\"asset\":\"BTC\",\"allow_stale\":true,\"max_age_ms\":19000"), "2", "stale");
    fixture_publish(&f, BTC_COINBASE, "3", START + SECOND);
    expect_price(ASK("\"asset\":\"BTC\",\"allow_stale\":true"), "3", "stale"); /* the first of equals */
    expect(ASK("\"asset\":\"ETH\""), "{" STALE_MESSAGE "}");
    fixture_close(&f);
}

static void a_proven_link_keeps_its_price_quiet(void)
{
    open_plain();
    beast_link *kraken = beast_table_link(f.shared->prices, 1);
    uint32_t epoch = beast_link_up(kraken, 60 * SECOND, START);
    CHECK_EQ(beast_price_publish(f.shared->prices, BTC_KRAKEN, (const uint8_t *)"2", 1, TRADED, START, START, epoch, 1),
             BEAST_OK);
    fixture_publish(&f, BTC_COINBASE, "1", START + SECOND);
    f.moment.now_ns = START + 30 * SECOND;
    expect_price(ASK("\"asset\":\"BTC\""), "2", "quiet"); /* coinbase's is younger, but nothing vouches for it */
    fixture_publish(&f, BTC_COINBASE, "1", f.moment.now_ns);
    expect_price(ASK("\"asset\":\"BTC\""), "1", "live");
    expect_price(ASK("\"asset\":\"BTC\",\"exchange\":\"kraken\""), "2", "quiet");
    beast_link_up(kraken, 60 * SECOND, START + 30 * SECOND);
    expect(ASK("\"asset\":\"BTC\",\"exchange\":\"kraken\""), "{" STALE_MESSAGE "," LAST("2", "30000") "}");
    fixture_close(&f);
}

static void a_connection_that_is_lost_leaves_the_word_to_others(void)
{
    open_plain();
    beast_link *coinbase = beast_table_link(f.shared->prices, 0);
    uint32_t epoch = beast_link_up(coinbase, 60 * SECOND, START);
    CHECK_EQ(beast_price_publish(f.shared->prices, BTC_COINBASE, (const uint8_t *)"1", 1, TRADED, START, START, epoch, 1),
             BEAST_OK);
    fixture_publish(&f, BTC_KRAKEN, "2", START - SECOND);
    expect_price(ASK("\"asset\":\"BTC\""), "1", "live");
    beast_link_down(coinbase);
    expect_price(ASK("\"asset\":\"BTC\""), "2", "live");
    expect(ASK("\"asset\":\"BTC\",\"exchange\":\"coinbase\""), "{" STALE_MESSAGE "," LAST("1", "0") "}");
    beast_shared_set_linkless(f.shared, SECOND);
    expect_price(ASK("\"asset\":\"BTC\""), "1", "live");
    fixture_close(&f);
}

/* Nobody who could park them: what is stale is answered at once. A lane that can wait asks the slower tiers first. */
static void who_takes_a_stale_price_waits_for_a_better_one(void)
{
    const char *ask = ASK("\"assets\":[\"BTC\",\"ADA\"],\"allow_stale\":true");
    beast_usage usage[4];
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "1", START - 20 * SECOND);
    fixture_publish(&f, ADA_KRAKEN, "0.5", START);
    fixture_ask(&f, ask);
    CHECK_EQ(f.count, 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_syncmap_hits), 2);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_cache_misses), 0);
    f.own->misses = beast_miss_ring_new(2);
    beast_shared_set_parking(f.shared, true, SECOND);
    fixture_ask(&f, ask);
    fixture_ask(&f, ask);
    CHECK_EQ(f.count, 0);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_parked), 2);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_syncmap_hits), 4);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_cache_misses), 2);
    CHECK_EQ(beast_usage_take(f.own->usage, usage, 4), 1); /* what waits was not answered yet */
    fixture_ask(&f, ask); /* the ring is full: this one gets what there is */
    CHECK_EQ(f.count, 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_miss_overflows), 1);
    CHECK_EQ(beast_usage_take(f.own->usage, usage, 4), 1);
    CHECK_EQ(usage[0].prices, 2);
    expect(ASK("\"asset\":\"ETH\",\"allow_stale\":true"),
           "{\"error\":\"unavailable\",\"message\":\"try again in a moment\"}");
    expect_price(ASK("\"asset\":\"ADA\",\"allow_stale\":true"), "0.5", "live"); /* who has one doesn't wait */
    beast_link *coinbase = beast_table_link(f.shared->prices, 0);
    uint32_t epoch = beast_link_up(coinbase, 60 * SECOND, START);
    CHECK_EQ(beast_price_publish(f.shared->prices, BTC_COINBASE, (const uint8_t *)"1", 1, TRADED, START - 2 * SECOND,
                                 START - 20 * SECOND, epoch, 1), BEAST_OK);
    expect(ASK("\"asset\":\"BTC\",\"allow_stale\":true,\"max_age_ms\":1"),
           "{" STALE_MESSAGE "," LAST("1", "2000") "}"); /* its connection lives: nobody has a better one */
    fixture_adds_up(&f);
    fixture_close(&f);
}

static void unknown_names_are_told(void)
{
    open_plain();
    expect(ASK("\"asset\":\"XYZ\""), "{" UNKNOWN_MESSAGE "}");
    expect(ASK("\"asset\":\"ETH\",\"exchange\":\"coinbase\""), "{" UNKNOWN_MESSAGE "}");
    expect(ASK("\"assets\":[\"XYZ\"],\"exchange\":\"nowhere\",\"id\":2"),
           "{\"error\":\"unknown_exchange\",\"message\":\"there is no exchange of this name\",\"id\":2}");
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_cache_misses), 2);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_refused), 3);
    fixture_close(&f);
}

static void several_assets_are_entries(void)
{
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "83421.57", START);
    fixture_publish(&f, ETH_KRAKEN, "3000", START - 20 * SECOND);
    expect(ASK("\"assets\":[\"btc\",\"nö\",\"a\\u0062\",\"eth\",\"BTC\"],\"id\":7"),
           "{\"prices\":[" LIVE("     0", "") ",{\"asset\":\"Nö\"," UNKNOWN_MESSAGE "},{\"asset\":\"a\\u0062\","
           UNKNOWN_MESSAGE "},{\"asset\":\"ETH\"," STALE_MESSAGE "," LAST("3000", "20000") "}],\"part\":1,\"parts\":1,"
           "\"id\":7}");
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_syncmap_hits), 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_cache_misses), 3);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), 1);
    expect(ASK("\"assets\":[\"X\",\"eth\"]"),
           "{\"prices\":[{\"asset\":\"X\"," UNKNOWN_MESSAGE "},{\"asset\":\"ETH\"," STALE_MESSAGE ","
           LAST("3000", "20000") "}],\"part\":1,\"parts\":1}");
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_refused), 1);
    fixture_close(&f);
}

/* The rule of section 4, the slow way: what one more entry would have made of the part before. */
static void parts_are_as_full_as_allowed(void)
{
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "83421.57", START);
    char ask[BEAST_DATAGRAM_MAX + 1], entry[64];
    uint32_t closing = (uint32_t)strlen("],\"part\":99,\"parts\":99,\"id\":\"p\"}"), told = 0;
    strcpy(ask, "{\"api_key\":\"tb_k\",\"id\":\"p\",\"assets\":[\"BTC\"");
    for (int i = 0; i < 29; i++) {
        snprintf(entry, sizeof entry, ",\"%.*s%02d\"", i, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", i);
        strcat(ask, entry);
    }
    strcat(ask, "]}");
    fixture_ask(&f, ask);
    CHECK(f.count > 1);
    const uint8_t *at = f.bytes;
    for (uint32_t part = 0; part < f.count; at += f.lens[part++]) {
        char text[BEAST_ANSWER_MAX + 1], end[64];
        CHECK(f.lens[part] <= BEAST_ANSWER_MAX);
        memcpy(text, at, f.lens[part]);
        text[f.lens[part]] = 0;
        uint32_t end_len = (uint32_t)snprintf(end, sizeof end, "],\"part\":%u,\"parts\":%u,\"id\":\"p\"}", part + 1,
                                              f.count);
        CHECK(strcmp(text + f.lens[part] - end_len, end) == 0);
        CHECK(strncmp(text, "{\"prices\":[{\"asset\":\"", 21) == 0);
        for (const char *asset = text; (asset = strstr(asset, "{\"asset\":")); asset++)
            told++;
        if (part + 1 < f.count) {
            const char *next = strchr((const char *)at + f.lens[part] + 11, '}');
            uint32_t next_len = (uint32_t)(next - ((const char *)at + f.lens[part] + 11)) + 1;
            CHECK(f.lens[part] - end_len + closing + 1 + next_len > BEAST_ANSWER_MAX);
        }
    }
    CHECK_EQ(told, 30);
    fixture_close(&f);
}

static void limits_of_a_key(void)
{
    open_plain();
    fixture_publish(&f, BTC_COINBASE, "83421.57", START);
    fixture_key(&f, "slow", 1, 2, 2, false, INT64_MAX);
    fixture_key(&f, "poor", 2, 0, 0, false, 2);
    fixture_key(&f, "pal", 3, 1, 1, true, 0);
    expect("{\"api_key\":\"slow\",\"asset\":\"BTC\"}", LIVE("     0", ""));
    expect("{\"api_key\":\"slow\",\"asset\":\"BTC\"}", LIVE("     0", ""));
    f.moment.now_ns += 1;
    expect("{\"api_key\":\"slow\",\"asset\":\"BTC\",\"exchange\":\"nowhere\",\"id\":\"r\"}",
           "{\"error\":\"rate_limited\",\"message\":\"too many requests for this key\","
           "\"retry_after_ms\":500,\"id\":\"r\"}");
    expect("{\"api_key\":\"poor\",\"asset\":\"XYZ\"}", "{" UNKNOWN_MESSAGE "}"); /* costs nothing */
    expect("{\"api_key\":\"poor\",\"asset\":\"XYZ\",\"exchange\":\"nowhere\"}",
           "{\"error\":\"unknown_exchange\",\"message\":\"there is no exchange of this name\"}");
    expect("{\"api_key\":\"poor\",\"assets\":[\"XYZ\",\"BTC\"]}",
           "{\"prices\":[{\"asset\":\"XYZ\"," UNKNOWN_MESSAGE "}," LIVE("     0", "") "],\"part\":1,\"parts\":1}");
    expect("{\"api_key\":\"poor\",\"asset\":\"BTC\"}", LIVE("     0", ""));
    expect("{\"api_key\":\"poor\",\"asset\":\"BTC\"}",
           "{\"error\":\"quota_exceeded\",\"message\":\"the monthly quota is used up\"}");
    for (int i = 0; i < 3; i++)
        expect("{\"api_key\":\"pal\",\"asset\":\"BTC\"}", LIVE("     0", ""));
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_rate_limited), 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_quota_rejected), 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_partner_requests), 3);
    fixture_adds_up(&f);
    fixture_close(&f);
}

static void the_unproven_get_no_more_than_they_sent(void)
{
    open_plain();
    expect("{\"api_key\":\"nobody\",\"asset\":\"BTC\"}", "{\"error\":\"unauthorized\"}");
    expect("{\"asset\":\"BTC\",\"id\":\"a rather long id, that leaves no room\"}", NULL);
    expect("{\"asset\":\"BTC\",\"x\":\"0123456789012345678901234567890123456789012345678901234567890\"}",
           "{\"error\":\"unauthorized\",\"message\":\"the API key is missing or not valid\"}");
    expect("{\"api_key\":\"tb_k\",\"asset\":\"\",\"id\":1}   ", "{\"error\":\"bad_request\",\"id\":1}");
    expect("{\"api_key\":\"tb_k\",\"asset\":7,\"id\":1,\"x\":\"01234567890123456789012345678901234567890123456789\"}",
           "{\"error\":\"bad_request\",\"message\":\"asset must be a string that is not empty\",\"id\":1}");
    expect("{", NULL);
    char big[BEAST_DATAGRAM_MAX + 400];
    memset(big, ' ', sizeof big);
    memcpy(big, ASK("\"asset\":\"BTC\""), strlen(ASK("\"asset\":\"BTC\"")));
    big[sizeof big - 1] = 0;
    expect(big, "{\"error\":\"bad_request\",\"message\":\"the request is longer than 1232 bytes\"}");
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_auth_rejected), 3);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_ignored), 2);
    beast_source_limit_set(f.shared->sources, 1);
    for (int i = 0; i < 60; i++)
        fixture_ask(&f, "{\"api_key\":\"nobody\",\"asset\":\"BTC\"}");
    CHECK_EQ(f.count, 0);
    CHECK(fixture_counter(&f, BEAST_COUNTER_source_limited) > 0);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_ignored), 2 + fixture_counter(&f, BEAST_COUNTER_source_limited));
    fixture_adds_up(&f);
    fixture_close(&f);
}

static void answers_are_recorded(void)
{
    beast_engine_config config = fixture_config();
    beast_usage usage[8];

    config.usage_ring = 2;
    fixture_open(&f, &config);
    fixture_publish(&f, ETH_KRAKEN, "3000", START - 2 * MS);
    fixture_publish(&f, ADA_KRAKEN, "0.5", START);
    fixture_ask(&f, ASK("\"asset\":\"XYZ\""));
    fixture_ask(&f, ASK("\"assets\":[\"XYZ\",\"ETH\",\"ADA\"]"));
    fixture_ask(&f, ASK("\"asset\":\"ADA\""));
    fixture_ask(&f, ASK("\"asset\":\"ADA\"")); /* finds no room */
    CHECK_EQ(beast_usage_take(f.own->usage, usage, 8), 2);
    CHECK_EQ(usage[0].sequence, 1);
    CHECK_EQ(usage[0].time_ns, TRADED);
    CHECK_EQ(usage[0].key_id, 7);
    CHECK_EQ(usage[0].instrument, ETH_KRAKEN);
    CHECK_EQ(usage[0].age_ms, 2);
    CHECK_EQ(usage[0].prices, 2);
    CHECK_EQ(usage[0].state, BEAST_STATE_LIVE);
    CHECK_EQ(usage[0].tier, 1);
    CHECK_EQ(usage[0].lane, f.own->number);
    CHECK_EQ(usage[1].instrument, ADA_KRAKEN);
    CHECK_EQ(usage[1].sequence, 2);
    fixture_ask(&f, ASK("\"asset\":\"ADA\""));
    CHECK_EQ(beast_usage_take(f.own->usage, usage, 8), 1);
    CHECK_EQ(usage[0].sequence, 4);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_usage_lost), 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_usage_records), 3);
    fixture_close(&f);
}

int main(void)
{
    RUN(a_price_is_answered_and_padded);
    RUN(age_takes_the_room_it_needs);
    RUN(the_source_is_chosen_by_freshness_then_priority);
    RUN(a_proven_link_keeps_its_price_quiet);
    RUN(a_connection_that_is_lost_leaves_the_word_to_others);
    RUN(who_takes_a_stale_price_waits_for_a_better_one);
    RUN(unknown_names_are_told);
    RUN(several_assets_are_entries);
    RUN(parts_are_as_full_as_allowed);
    RUN(limits_of_a_key);
    RUN(the_unproven_get_no_more_than_they_sent);
    RUN(answers_are_recorded);
    return harness_report();
}
