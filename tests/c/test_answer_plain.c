/* The short way to an answer and the long one are of one opinion: two engines that live through the same things, one of
 * which takes the short way wherever it can. */
#include "answer_lookup.h"
#include "answer_plain.h"
#include "engine_fixture.h"

#define ROUNDS 40000
#define KEYS 6

static const char *const KEY[KEYS] = {
    "tb_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG", /* as long as keys are */
    "tb_slow_0123456789abcdefghijklmnopqrstuvwxyz_",
    "tb_poor",
    "tb_pal_0123456789",
    "tb_elsewhere",
    "tb_gone_0123456789abcdefghijklmnopqrstuvwxyz",
};

static fixture shorter, longer;
static uint8_t digest[KEYS][BEAST_SHA256_LEN];

static void put_keys(fixture *f)
{
    const beast_key_limits elsewhere = {.id = 5, .quota_id = 5, .flags = BEAST_KEY_NETWORKS, .cap = BEAST_NO_CAP};

    fixture_key(f, KEY[0], 1, 0, 0, false, INT64_MAX);
    fixture_key(f, KEY[1], 2, 20, 3, false, INT64_MAX);
    fixture_key(f, KEY[2], 3, 100000, 100, false, 50);
    fixture_key(f, KEY[3], 4, 1, 1, true, 0);
    CHECK_EQ(beast_key_set(f->shared->keys, digest[4], &elsewhere, &f->shared->readers), BEAST_OK);
}

/* Something that changes what answers say, the same in both. */
static void happen(fixture *f, uint64_t random)
{
    uint32_t id = (uint32_t)(random >> 8) % INSTRUMENTS;
    beast_link *link = beast_table_link(f->shared->prices, id != BTC_COINBASE);
    static const uint8_t tiers[] = {1, 1, 1, 2, 3, 2 | BEAST_VIA_REST};
    char price[32];

    switch (random % 8) {
    case 0:
    case 1:
        snprintf(price, sizeof price, "%u.%u", (unsigned)(random >> 16 & 0xFFFFF), (unsigned)(random >> 40 & 0xFF));
        beast_price_publish(f->shared->prices, id, (const uint8_t *)price, (uint32_t)strlen(price),
                            TRADED + (int64_t)(random >> 32), f->moment.now_ns, f->moment.now_ns - (random >> 20 & 3) * SECOND,
                            random >> 24 & 3 ? beast_link_read(link).epoch : 0, tiers[(random >> 28) % 6]);
        break;
    case 2:
        if (random >> 16 & 1)
            beast_link_up(link, 3 * SECOND, f->moment.now_ns);
        else
            beast_link_down(link);
        break;
    case 3:
        beast_link_proven(link, f->moment.now_ns);
        break;
    case 4:
        if (random >> 16 & 1)
            beast_price_doubt(f->shared->prices, id);
        else if ((random >> 17) % 8 == 0)
            beast_price_forget(f->shared->prices, id);
        break;
    case 5:
        if (random >> 16 & 1)
            fixture_key(f, KEY[5], 6, 0, 0, false, 1000);
        else
            beast_key_drop(f->shared->keys, digest[5], &f->shared->readers);
        break;
    case 6:
        fixture_key(f, KEY[2], 3, 100000, 100, false, (int64_t)(random >> 16) % 50);
        break;
    default:
        break;
    }
}

static int write_request(uint64_t random, char text[512])
{
    static const char *const assets[] = {"BTC", "btc", "ETH", "ada", "XYZ", "BTCX", "ABCDEFGHIJ"};
    static const char *const rest[] = {"", "", ",\"exchange\":\"kraken\"", ",\"exchange\":\"Coinbase\"", ",\"exchange\":\"nowhere\"",
                                       ",\"max_age_ms\":2500", ",\"allow_stale\":true"};
    char id[BEAST_ID_MAX + 16] = "";
    uint32_t len = (uint32_t)(random >> 40) % (2 * BEAST_ID_MAX);

    if (len <= BEAST_ID_MAX)
        snprintf(id, sizeof id, ",\"id\":\"%.*s\"", (int)len, "0123456789012345678901234567890123456789012345678901234567890123");
    return snprintf(text, 512, "{\"api_key\":\"%s\",\"asset\":\"%s\"%s%s}", KEY[random % KEYS], assets[(random >> 8) % 7],
                    rest[(random >> 16) % 7], id);
}

static void begin(fixture *f, const char *text, size_t len, beast_request *req, beast_lookup *lookup)
{
    CHECK_EQ(beast_request_parse(harness_at_end(text, len), len, req), BEAST_FAULT_NONE);
    lookup->peer = (const struct sockaddr *)&f->peer;
    lookup->fd = -1;
    beast_answer_prefetch(f->own, req, lookup);
    beast_key_recall(f->own->keys, f->shared->keys, &lookup->key);
}

static void go_the_long_way(fixture *f, const beast_request *req, beast_lookup *lookup, uint8_t *out, beast_reply *reply)
{
    beast_answer_body(f->own, req, lookup, NULL, &f->moment, out, reply);
}

static uint32_t without_padding(const uint8_t *text, uint32_t len)
{
    while (len && text[len - 1] == ' ')
        len--;
    return len;
}

static void check_keys(void)
{
    for (int i = 0; i < KEYS; i++) {
        const beast_key *a = beast_key_by_digest(shorter.shared->keys, digest[i]);
        const beast_key *b = beast_key_by_digest(longer.shared->keys, digest[i]);
        CHECK_EQ(a != NULL, b != NULL);
        if (a && b) {
            CHECK_EQ(a->arrival_ns, b->arrival_ns);
            CHECK_EQ(a->balance, b->balance);
        }
    }
}

static void check_usage(void)
{
    beast_usage a = {0}, b = {0};

    beast_usage_sent(shorter.own->usage, beast_usage_unsent(shorter.own->usage), 0);
    beast_usage_sent(longer.own->usage, beast_usage_unsent(longer.own->usage), 0);
    CHECK_EQ(beast_usage_take(shorter.own->usage, &a, 1), beast_usage_take(longer.own->usage, &b, 1));
    CHECK(memcmp(&a, &b, sizeof a) == 0);
}

/* Returns whether the short way was long enough. */
static bool compare(const char *text, size_t len)
{
    static uint8_t scratch[2][1024], out[2][BEAST_BODY_MAX];
    static beast_request req[2] = {{.scratch = scratch[0]}, {.scratch = scratch[1]}};
    beast_lookup lookup[2];
    beast_reply reply[2];
    char copy[512];

    begin(&longer, text, len, &req[1], &lookup[1]);
    go_the_long_way(&longer, &req[1], &lookup[1], out[1], &reply[1]);
    memcpy(copy, text, len);
    begin(&shorter, copy, len, &req[0], &lookup[0]);
    const beast_plain plain = beast_plain_begin(shorter.own, &shorter.moment);
    uint32_t got = 0;
    beast_plain_end end = beast_answer_plain(&plain, &req[0], &lookup[0], out[0], &got, &reply[0]);
    if (end == BEAST_PLAIN_NOT) {
        CHECK_EQ(beast_usage_unsent(shorter.own->usage), 0);
        go_the_long_way(&shorter, &req[0], &lookup[0], out[0], &reply[0]);
    } else if (end == BEAST_PLAIN_ANSWERED) {
        CHECK_EQ(reply[1].result, BEAST_RESULT_ANSWERED);
        CHECK_EQ(got, reply[1].len);
        for (uint32_t i = got; i < BEAST_ANSWER_PAD; i++)
            CHECK_EQ(out[0][i], ' ');
        beast_count(&shorter.own->counters, BEAST_COUNTER_syncmap_hits, 1);
        reply[0] = reply[1];
    }
    CHECK_EQ(reply[0].result, reply[1].result);
    CHECK_EQ(reply[0].proven, reply[1].proven);
    CHECK_EQ(reply[0].retry_ns, reply[1].retry_ns);
    CHECK_EQ(without_padding(out[0], reply[0].len), reply[1].len);
    CHECK(memcmp(out[0], out[1], reply[1].len) == 0);
    return end != BEAST_PLAIN_NOT;
}

static void two_ways_are_one(void)
{
    uint64_t seed = 11;
    uint32_t taken = 0;
    beast_engine_config config = fixture_config();

    for (int i = 0; i < KEYS; i++)
        beast_sha256((const uint8_t *)KEY[i], strlen(KEY[i]), digest[i]);
    fixture_open(&shorter, &config);
    fixture_open(&longer, &config);
    put_keys(&shorter);
    put_keys(&longer);
    for (int round = 0; round < ROUNDS; round++) {
        char text[512];
        uint64_t random = harness_random(&seed);
        shorter.moment.now_ns += (int64_t)(random % 7) * MS * (random >> 60 ? 1 : 1000);
        longer.moment.now_ns = shorter.moment.now_ns;
        random = harness_random(&seed);
        happen(&shorter, random);
        happen(&longer, random);
        taken += compare(text, (size_t)write_request(harness_random(&seed), text));
        check_usage();
        check_keys();
    }
    for (beast_counter which = 0; which < BEAST_COUNTER_COUNT; which++)
        CHECK_EQ(fixture_counter(&shorter, which), fixture_counter(&longer, which));
    CHECK(taken > ROUNDS / 40);
    fixture_close(&shorter);
    fixture_close(&longer);
}

int main(void)
{
    RUN(two_ways_are_one);
    return harness_report();
}
