/* The byte scan of UDP requests: docs/protocol.md, section 1. */
#include "harness.h"
#include "request.h"

static uint8_t scratch[4096];
static beast_request req;

/* Both ends of the input against unreadable pages; the results must agree, and stay in `req`. */
static beast_fault parse_bytes(const void *bytes, size_t len)
{
    req.scratch = scratch;
    beast_fault first = beast_request_parse(harness_at_start(bytes, len), len, &req);
    beast_fault second = beast_request_parse(harness_at_end(bytes, len), len, &req);
    CHECK_EQ(first, second);
    CHECK_EQ(second, req.fault);
    return second;
}

static beast_fault parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void check_fault(int line, const char *text, beast_fault want)
{
    beast_fault got = parse(text);
    if (got != want) {
        fprintf(stderr, "fault %d, not %d, of ", got, want);
        harness_fail(__FILE__, line, text);
    }
}

#define CHECK_FAULT(text, want) check_fault(__LINE__, text, BEAST_FAULT_##want)

static bool slice_is(beast_slice slice, const char *text)
{
    return slice.ptr && slice.len == strlen(text) && memcmp(slice.ptr, text, slice.len) == 0;
}

static bool name_is(const beast_name *name, const char *text)
{
    char words[24] = {0};
    memcpy(words, text, strlen(text));
    return name->len == strlen(text) && memcmp(words, name->word, sizeof words) == 0;
}

static void reads_the_plain_form(void)
{
    CHECK_FAULT("{\"api_key\":\"tb_1\",\"asset\":\"btc\"}", NONE);
    CHECK(slice_is(req.api_key, "tb_1"));
    CHECK_EQ(req.n_assets, 1);
    CHECK(name_is(&req.assets[0], "BTC"));
    CHECK(slice_is(req.assets[0].raw, "btc"));
    CHECK(!req.assets[0].escaped && !req.many && !req.has_exchange && !req.allow_stale);
    CHECK(req.id.ptr == NULL);
    CHECK_EQ(req.max_age_ms, -1);
}

static void reads_every_member(void)
{
    CHECK_FAULT(" {\t\"id\" : \"a1\" ,\n\"allow_stale\": true,\r\"max_age_ms\":500, \"exchange\":\"KraKen\",\"assets\":"
                "[\"BTC\", \"eth\" ,\"Sol\"], \"api_key\":\"k\" } ",
                NONE);
    CHECK(slice_is(req.id, "\"a1\""));
    CHECK(req.allow_stale && req.many && req.has_exchange);
    CHECK_EQ(req.max_age_ms, 500);
    CHECK(name_is(&req.exchange, "kraken"));
    CHECK_EQ(req.n_assets, 3);
    CHECK(name_is(&req.assets[1], "ETH") && name_is(&req.assets[2], "SOL"));
    CHECK_FAULT("{\"asset\":\"X\",\"id\":-12}", NONE);
    CHECK(slice_is(req.id, "-12"));
    CHECK_FAULT("{\"asset\":\"X\",\"id\":\"\"}", NONE);
    CHECK(slice_is(req.id, "\"\""));
    CHECK_FAULT("{\"asset\":\"X\",\"api_key\":\"\"}", NONE);
    CHECK(slice_is(req.api_key, ""));
}

static void takes_null_for_absent(void)
{
    CHECK_FAULT("{\"api_key\":null,\"asset\":\"X\",\"assets\":null,\"exchange\":null,\"id\":null,\"max_age_ms\":null,"
                "\"allow_stale\":null}",
                NONE);
    CHECK(!req.api_key.ptr && !req.id.ptr && !req.has_exchange && !req.many && !req.allow_stale);
    CHECK_EQ(req.max_age_ms, -1);
    CHECK_FAULT("{\"asset\":null,\"assets\":null}", NO_ASSET);
}

static void decodes_escapes(void)
{
    CHECK_FAULT("{\"\\u0061pi_key\":\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\uD83D\\uDE00\","
                "\"\\u0061sset\":\"\\u0062tc\"}",
                NONE);
    CHECK(slice_is(req.api_key, "a\"\\/\b\f\n\r\t\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
    CHECK(name_is(&req.assets[0], "BTC"));
    CHECK(req.assets[0].escaped);
    CHECK(slice_is(req.assets[0].raw, "\\u0062tc"));
    CHECK_FAULT("{\"asset\":\"X\",\"id\":\"\\u0041\"}", NONE);
    CHECK(slice_is(req.id, "\"\\u0041\""));
    CHECK_FAULT("{\"asset\":\"X\",\"exchange\":\"\\u004braken\"}", NONE);
    CHECK(name_is(&req.exchange, "kraken"));
    /* U+0000 makes another name, though its words are the same. */
    CHECK_FAULT("{\"assets\":[\"A\",\"A\\u0000\"]}", NONE);
    CHECK_EQ(req.n_assets, 2);
}

static void folds_ascii_only(void)
{
    CHECK_FAULT("{\"asset\":\"a\xC3\xA9@`[{z\"}", NONE);
    CHECK(name_is(&req.assets[0], "A\xC3\xA9@`[{Z"));
    CHECK_FAULT("{\"asset\":\"X\",\"exchange\":\"AZ@[`{\"}", NONE);
    CHECK(name_is(&req.exchange, "az@[`{"));
    for (uint32_t len = 0; len <= 24; len++) {
        beast_name name;
        char want[32] = {0};
        const uint8_t *text = harness_at_end("abcdefghijklmnopqrstuvwxyz", len);
        beast_name_fold(&name, text, len, true);
        for (uint32_t i = 0; i < len && len <= BEAST_ASSET_MAX; i++)
            want[i] = (char)('A' + i);
        CHECK_EQ(name.len, len);
        CHECK(memcmp(want, name.word, 24) == 0);
    }
}

static void folds_duplicates(void)
{
    CHECK_FAULT("{\"assets\":[\"btc\",\"BTC\",\"\\u0062TC\",\"eth\"]}", NONE);
    CHECK_EQ(req.n_assets, 2);
    CHECK(slice_is(req.assets[0].raw, "btc"));
    CHECK_FAULT("{\"assets\":[\"a-name-longer-than-twenty\",\"A-NAME-longer-than-twenty\","
                "\"\\u0061-name-longer-than-twenty\",\"b-name-longer-than-twenty\"]}",
                NONE);
    CHECK_EQ(req.n_assets, 2);
    CHECK_EQ(req.assets[0].len, 25);
    CHECK_EQ(req.assets[0].word[0], 0);
}

static void counts_entries_as_sent(void)
{
    char text[512] = "{\"assets\":[";
    for (int i = 0; i < BEAST_ASSETS_MAX; i++)
        strcat(text, i ? ",\"a\"" : "\"a\"");
    size_t len = strlen(text);
    strcpy(text + len, "]}");
    CHECK_FAULT(text, NONE);
    CHECK_EQ(req.n_assets, 1);
    strcpy(text + len, ",\"a\"],\"id\":1}");
    CHECK_FAULT(text, ASSETS);
    CHECK(slice_is(req.id, "1"));
}

static void skips_unknown_members(void)
{
    CHECK_FAULT("{\"x\":[1,-0,0.5,1e9,-1.5E-7,1E+2,true,false,null,{},[],{\"a\":[{\"b\":\"\\ud800\"}]},\"\\u12aF\"],"
                "\"asset\":\"X\",\"y\":\"\\udc00\",\"Asset\":1}",
                NONE);
    CHECK_FAULT("{\"asset\":\"X\",\"abcdefghijklmnopq\":1,\"\\u0061bcdefghijklmnopq\":1}", NONE);
}

static void tells_syntax(void)
{
    static const char *const bad[] = {
        "", " ", "{", "[", "[]", "1", "\"a\"", "null", "{]", "{}x", "{} {}", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{'a':1}", "{\"a\":01}", "{\"a\":-}", "{\"a\":+1}", "{\"a\":.5}",
        "{\"a\":1.}", "{\"a\":1e}", "{\"a\":1e+}", "{\"a\":-01}", "{\"a\":0x1}", "{\"a\":tru}", "{\"a\":True}",
        "{\"a\":nul}", "{\"a\":nulll}", "{\"a\":NaN}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12G4\"}", "{\"a\":\"\\u123\"}",
        "{\"a\":\"\t\"}", "{\"a\":\"\n\"}", "{\"a\":\"\x01\"}", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":\"\\\"}",
        "{\"a\":[1,]}", "{\"a\":[,1]}", "{\"a\":[1 2]}", "{\"a\":{\"b\"}}", "{\"a\":{\"b\":1,}}", "{\"a\":{1:2}}",
        "{\"asset\":\"BTC\"}}", "{\"asset\":\"BTC\"},", "{\"asset\":\"BTC\"", "{\"asset\":\"BTC\",}",
        "{\"asset\":\"BTC\",",
        "{\"api_key\":\"k\",\"asset\":\"B\\", "\xEF\xBB\xBF{\"asset\":\"BTC\"}", "{\"asset\":\"B\"}\v",
        "{\"asset\":\"B\" \"id\":1}",
        "{\"assets\":[\"A\",]}", "{\"assets\":[\"A\" \"B\"]}", "{\"assets\":[}", "{\"id\":01,\"asset\":\"A\"}",
        "{\"max_age_ms\":1.,\"asset\":\"A\"}", "{\"asset\":n}", "{\"asset\":nulL}", "{\"allow_stale\":truth}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAULT(bad[i], SYNTAX);
    CHECK_EQ(parse_bytes("{\"asset\":\"B\"}\0", 14), BEAST_FAULT_SYNTAX);
    CHECK_EQ(parse_bytes("{\"asset\":\"B\0\"}", 14), BEAST_FAULT_SYNTAX);
}

static void tells_utf8(void)
{
    static const char *const bad[] = {
        "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xE2\x82",
        "\xE2\x28\xA1",
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFE", "\xFF", "\xE2\x82\xAC\x80",
    };
    static const char *const good[] = {"\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                                       "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    char text[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"asset\":\"%s\",\"id\":1}", bad[i]);
        CHECK_FAULT(text, UTF8);
        CHECK(req.id.ptr == NULL);
        snprintf(text, sizeof text, "{\"asset\":\"A\",\"x\":{\"%s\":1}}", bad[i]);
        CHECK_FAULT(text, UTF8);
        snprintf(text, sizeof text, "{\"asset\":\"A\"} %s", bad[i]);
        CHECK_FAULT(text, UTF8);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "{\"asset\":\"%s\"}", good[i]);
        CHECK_FAULT(text, NONE);
        CHECK(slice_is(req.assets[0].raw, good[i]));
    }
}

static void tells_lone_surrogates(void)
{
    static const char *const lone[] = {"\\ud800", "\\uDBFF", "\\udc00", "\\uDFFF", "\\ud800x", "\\ud800\\n",
                                       "\\ud800\\ud800\\udc00", "\\ud800\\u0041", "\\udc00\\ud800"};
    char text[128];
    for (size_t i = 0; i < sizeof lone / sizeof *lone; i++) {
        static const char *const known[] = {"{\"asset\":\"%s\"}", "{\"assets\":[\"%s\"]}",
            "{\"asset\":\"A\",\"id\":\"%s\"}",
                                            "{\"asset\":\"A\",\"api_key\":\"%s\"}",
                                            "{\"asset\":\"A\",\"max_age_ms\":\"%s\"}",
                                            "{\"asset\":\"A\",\"%s\":1}", "{\"exchange\":{\"%s\":1}}",
                                            "{\"asset\":[\"%s\"]}", "{\"asset\":\"A\",\"asset\":\"%s\"}"};
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            snprintf(text, sizeof text, known[k], lone[i]);
            CHECK_FAULT(text, UTF8);
        }
        snprintf(text, sizeof text, "{\"asset\":\"A\",\"x\":[\"%s\",{\"%s\":1}]}", lone[i], lone[i]);
        CHECK_FAULT(text, NONE);
    }
}

static void tells_depth(void)
{
    CHECK_FAULT("{\"asset\":\"A\",\"x\":[[[[[[[]]]]]]]}", NONE);
    CHECK_FAULT("{\"asset\":\"A\",\"x\":[[[[[[[[]]]]]]]]}", DEPTH);
    CHECK_FAULT("{\"asset\":\"A\",\"x\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}", NONE);
    CHECK_FAULT("{\"asset\":\"A\",\"x\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}", NONE);
    CHECK_FAULT("{\"asset\":\"A\",\"x\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}", DEPTH);
    CHECK_FAULT("{\"assets\":[[[[[[[[", DEPTH);
    CHECK_FAULT("{\"assets\":[[[[[[[", SYNTAX);
}

static void tells_wrong_values(void)
{
    static const struct {
        const char *text;
        beast_fault fault;
    } cases[] = {
        {"\"api_key\":1", BEAST_FAULT_API_KEY},
        {"\"api_key\":[]", BEAST_FAULT_API_KEY},
        {"\"exchange\":\"\"", BEAST_FAULT_EXCHANGE},
        {"\"exchange\":1", BEAST_FAULT_EXCHANGE},
        {"\"exchange\":{}", BEAST_FAULT_EXCHANGE},
        {"\"max_age_ms\":-1", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":1.0", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":1e3", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":\"1\"", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":9007199254740992", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":18446744073709551616", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":99999999999999999999999999999999999999999999", BEAST_FAULT_MAX_AGE},
        {"\"max_age_ms\":true", BEAST_FAULT_MAX_AGE},
        {"\"allow_stale\":1", BEAST_FAULT_ALLOW_STALE},
        {"\"allow_stale\":\"true\"", BEAST_FAULT_ALLOW_STALE},
        {"\"asset\":\"A\"", BEAST_FAULT_TWICE},
        {"\"asset\":null", BEAST_FAULT_TWICE},
        {"\"\\u0061sset\":1", BEAST_FAULT_TWICE},
        {"\"assets\":[\"A\"]", BEAST_FAULT_BOTH_ASSETS},
        {"\"assets\":[]", BEAST_FAULT_ASSETS},
        {"\"assets\":\"A\"", BEAST_FAULT_ASSETS},
        {"\"assets\":[1]", BEAST_FAULT_ASSETS},
        {"\"assets\":[null]", BEAST_FAULT_ASSETS},
        {"\"assets\":[\"A\",\"\"]", BEAST_FAULT_ASSETS},
        {"\"assets\":[\"A\",[\"B\"]]", BEAST_FAULT_ASSETS},
        {"\"exchange\":1,\"max_age_ms\":-1", BEAST_FAULT_EXCHANGE},
        {"\"max_age_ms\":-1,\"exchange\":1,\"asset\":1", BEAST_FAULT_MAX_AGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"asset\":\"A\",%s,\"id\":7}", cases[i].text);
        if (parse(text) != cases[i].fault)
            harness_fail(__FILE__, __LINE__, text);
        CHECK(slice_is(req.id, "7"));
        snprintf(text, sizeof text, "{\"asset\":\"A\",%s,\"id\":7,}", cases[i].text);
        CHECK_FAULT(text, SYNTAX);
        CHECK(!req.id.ptr);
    }
    CHECK_FAULT("{\"asset\":\"\"}", ASSET);
    CHECK_FAULT("{\"asset\":[\"A\"]}", ASSET);
    CHECK_FAULT("{\"asset\":\"\",\"assets\":[\"A\"]}", ASSET);
    CHECK_FAULT("{}", NO_ASSET);
    CHECK_FAULT("{\"id\":\"x\"}", NO_ASSET);
    CHECK(slice_is(req.id, "\"x\""));
    CHECK_FAULT("{\"asset\":\"A\",\"max_age_ms\":9007199254740991}", NONE);
    CHECK_EQ(req.max_age_ms, INT64_C(9007199254740991));
    CHECK_FAULT("{\"asset\":\"A\",\"max_age_ms\":-0}", NONE);
    CHECK_EQ(req.max_age_ms, 0);
}

static void checks_the_id(void)
{
    char digits[80], text[160];
    memset(digits, '7', sizeof digits);
    for (int len = 63; len <= 66; len++) {
        snprintf(text, sizeof text, "{\"asset\":\"A\",\"id\":%.*s}", len, digits);
        check_fault(__LINE__, text, len > 64 ? BEAST_FAULT_ID : BEAST_FAULT_NONE);
        CHECK_EQ(req.id.len, len > 64 ? 0 : len);
        snprintf(text, sizeof text, "{\"asset\":\"A\",\"id\":\"%.*s\"}", len, digits);
        check_fault(__LINE__, text, len > 64 ? BEAST_FAULT_ID : BEAST_FAULT_NONE);
        CHECK_EQ(req.id.len, len > 64 ? 0 : len + 2);
    }
    static const char *const bad[] = {"1.0", "1e2", "true", "[]", "{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"asset\":\"A\",\"id\":%s}", bad[i]);
        CHECK_FAULT(text, ID);
        CHECK(!req.id.ptr);
    }
    CHECK_FAULT("{\"asset\":\"A\",\"id\":1,\"id\":2}", TWICE);
    CHECK(slice_is(req.id, "1"));
}

static void limits_the_size(void)
{
    char text[BEAST_DATAGRAM_MAX + 2] = "{\"asset\":\"A\"}";
    size_t used = strlen(text);
    memset(text + used, ' ', sizeof text - used);
    CHECK_EQ(parse_bytes(text, BEAST_DATAGRAM_MAX), BEAST_FAULT_NONE);
    CHECK_EQ(parse_bytes(text, BEAST_DATAGRAM_MAX + 1), BEAST_FAULT_TOO_LARGE);
}

int main(void)
{
    RUN(reads_the_plain_form);
    RUN(reads_every_member);
    RUN(takes_null_for_absent);
    RUN(decodes_escapes);
    RUN(folds_ascii_only);
    RUN(folds_duplicates);
    RUN(counts_entries_as_sent);
    RUN(skips_unknown_members);
    RUN(tells_syntax);
    RUN(tells_utf8);
    RUN(tells_lone_surrogates);
    RUN(tells_depth);
    RUN(tells_wrong_values);
    RUN(checks_the_id);
    RUN(limits_the_size);
    return harness_report();
}
