/* The extraction of trades from frames, at the edge of memory. What it must come to is held against the readable
 * twin from Python; here it is shown that it stays inside its input, and that plans are refused when they must be. */
#include "extract_fixture.h"
#include "harness.h"

static beast_plan *plan;
static beast_extraction *out;

/* Both ends of the frame against unreadable pages; the results must agree. */
static beast_frame_kind extract(const char *bytes, size_t len)
{
    beast_frame_kind first = beast_extract(plan, harness_at_start(bytes, len), len, out);
    uint32_t count = first == BEAST_FRAME_TRADE ? out->trades->count : 0;
    /* This time against its own form, if it left one. */
    beast_frame_kind second = beast_extract(plan, harness_at_end(bytes, len), len, out);
    CHECK_EQ(first, second);
    CHECK_EQ(count, second == BEAST_FRAME_TRADE ? out->trades->count : 0);
    return second;
}

static void check_one(const char *frame, const char *symbol, const char *price, int64_t time_ns)
{
    CHECK_EQ(extract(frame, strlen(frame)), BEAST_FRAME_TRADE);
    if (out->trades->count != 1) {
        harness_fail(__FILE__, __LINE__, frame);
        return;
    }
    const beast_trade *trade = &out->trades->trade[0];
    CHECK_TEXT(trade->symbol.ptr, trade->symbol.len, symbol);
    CHECK_TEXT(trade->price.ptr, trade->price.len, price);
    CHECK_EQ(trade->time_ns, time_ns);
}

static const char *const FRAMES[] = {
    "{\"channel\":\"trade\",\"data\":[{\"symbol\":\"BTC\\/USD\",\"price\":1.5e-3,\"time\":\"2026-05-03T10:00:00.25Z\"}]}",
    "{\"data\":[{\"symbol\":\"A\",\"price\":\"1\"},{\"price\":2,\"symbol\":\"A\"}],\"time\":\"2026-05-03T10:00:00Z\","
    "\"channel\":\"trade\"}",
    "{\"channel\":\"nested\",\"events\":[{\"trades\":[{\"price\":\"7\",\"time\":1777802400000}],\"symbol\":\"X\"}]}",
    "[[{\"p\":\"9.10\"},{\"k\":\"sym\"}]]",
    "{\"E\":1777802400123456789,\"s\":\"B\\u00e4r\",\"p\":\"83371.09\",\"x\":[1,{\"y\":[null,true,\"\\u00e4\\ud83d\\ude00\"]}]}",
};

static void trades_are_read(void)
{
    check_one(FRAMES[0], "BTC/USD", "0.0015", INT64_C(1777802400250000000));
    check_one(FRAMES[1], "A", "2", INT64_C(1777802400000000000));
    check_one(FRAMES[2], "X", "7", INT64_C(1777802400000000000));
    check_one(FRAMES[4], "B\xc3\xa4r", "83371.09", INT64_C(1777802400123456789));
}

static void every_beginning_of_a_frame_is_malformed_and_stays_inside(void)
{
    for (size_t f = 0; f < sizeof FRAMES / sizeof *FRAMES; f++)
        for (size_t len = 0; len < strlen(FRAMES[f]); len++)
            CHECK_EQ(extract(FRAMES[f], len), BEAST_FRAME_MALFORMED);
}

/* An event without trades behind the one with the trade: the name in the form is the trade's. */
static void a_form_is_that_of_the_trade(void)
{
    static const char frame[] = "{\"channel\":\"nested\",\"time\":1777802400000,\"events\":["
                                "{\"symbol\":\"A\",\"trades\":[{\"price\":\"7\",\"time\":1777802400001}]},"
                                "{\"symbol\":\"LATER\",\"trades\":[]}]}";
    check_one(frame, "A", "7", INT64_C(1777802400001000000));
    check_one(frame, "A", "7", INT64_C(1777802400001000000));
}

static void numbers_are_read(void)
{
    static const char trades[] = "{\"channel\":\"trade\",\"data\":[{\"symbol\":\"A\",\"price\":1,\"id\":8},"
                                 "{\"symbol\":\"A\",\"price\":2},{\"symbol\":\"A\",\"price\":3,\"id\":\"6\"}]}";
    check_one(trades, "A", "3", 0);
    CHECK_EQ(out->trades->trade[0].sequence_first, 6);
    CHECK_EQ(out->trades->trade[0].sequence, 8);
    CHECK_EQ(out->trades->trade[0].sequenced, 2);
    CHECK(!out->sequenced);
}

/* The number of every frame, also of one that its form reads, or that says nothing else. */
static void frames_are_numbered(void)
{
    static const char *const frames[] = {
        "{\"n\":7,\"channel\":\"trade\",\"data\":[{\"symbol\":\"A\",\"price\":1,\"id\":8}]}",
        "{\"channel\":\"other\",\"n\":\"7\"}",
    };
    beast_plan *trades_numbered = plan;
    plan = fixture_plan(FIXTURE_FRAMES);
    for (size_t f = 0; f < sizeof frames / sizeof *frames; f++) {
        CHECK_EQ(extract(frames[f], strlen(frames[f])), f ? BEAST_FRAME_OTHER : BEAST_FRAME_TRADE);
        CHECK(out->sequenced);
        CHECK_EQ(out->sequence, 7);
        CHECK_EQ(f ? 0 : out->trades->trade[0].sequence, 0);
    }
    CHECK_EQ(extract("{\"n\":7", 6), BEAST_FRAME_MALFORMED);
    CHECK(!out->sequenced);
    beast_plan_free(plan);
    plan = trades_numbered;
    out->form.holes = 0;
}

/* Each member is a symbol's; what stands behind them all is read when they are known. */
static void members_are_walked(void)
{
    static const char *const wrong[] = {"\"x@trade\"", "\"@tradesx\"", "\"trades\"", "7"};
    char frame[256];
    beast_plan *trades_numbered = plan;
    plan = fixture_plan(FIXTURE_FRAMES);
    int len = snprintf(frame, sizeof frame, "{\"channel\":\"x@trades\",\"u\":{\"AB\":[{\"p\":1},{\"p\":1500}],\"C\":"
                                            "[{\"p\":\"2\"}],\"D\":{\"p\":3},\"AB\":[{\"p\":9}]},\"t\":5}");
    CHECK_EQ(extract(frame, (size_t)len), BEAST_FRAME_TRADE);
    CHECK_EQ(out->trades->count, 2);
    CHECK_TEXT(out->trades->trade[0].symbol.ptr, out->trades->trade[0].symbol.len, "AB");
    CHECK_TEXT(out->trades->trade[0].price.ptr, out->trades->trade[0].price.len, "1.500");
    CHECK_EQ(out->trades->trade[0].time_ns, 5);
    CHECK_TEXT(out->trades->trade[1].symbol.ptr, out->trades->trade[1].symbol.len, "C");
    CHECK_TEXT(out->trades->trade[1].price.ptr, out->trades->trade[1].price.len, "0.002");
    CHECK_EQ(out->trades->trade[1].time_ns, 5);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        len = snprintf(frame, sizeof frame, "{\"channel\":%s,\"u\":{\"A\":[],\"B\":[]}}", wrong[i]);
        CHECK_EQ(extract(frame, (size_t)len), BEAST_FRAME_OTHER);
    }
    beast_plan_free(plan);
    plan = trades_numbered;
    out->form.holes = 0;
}

/* Also when they are held against the form of the whole frame. */
static void damaged_frames_stay_inside(void)
{
    static const char bytes[] = "\"\\{}[]:,0-+.eE tfnu\xff\xc3\x80\x01";
    uint64_t seed = 7;
    char frame[256];
    for (int round = 0; round < 100000; round++) {
        const char *source = FRAMES[harness_random(&seed) % (sizeof FRAMES / sizeof *FRAMES)];
        size_t len = strlen(source);
        CHECK(beast_extract(plan, (const uint8_t *)source, len, out) != BEAST_FRAME_MALFORMED);
        memcpy(frame, source, len);
        for (uint64_t n = 1 + harness_random(&seed) % 4; n; n--)
            frame[harness_random(&seed) % len] = bytes[harness_random(&seed) % (sizeof bytes - 1)];
        len -= harness_random(&seed) % 4;
        beast_frame_kind kind = beast_extract(plan, harness_at_end(frame, len), len, out);
        CHECK(kind <= BEAST_FRAME_MALFORMED);
    }
}

static void deep_and_long_frames_end(void)
{
    size_t len = HARNESS_ROOM;
    char *frame = malloc(len);
    static const char openers[] = "[{\"";
    for (size_t i = 0; i < sizeof openers - 1; i++) {
        memset(frame, openers[i], len);
        CHECK_EQ(extract(frame, len), BEAST_FRAME_MALFORMED);
    }
    memset(frame, '[', BEAST_FRAME_DEPTH_MAX);
    memset(frame + BEAST_FRAME_DEPTH_MAX, ']', BEAST_FRAME_DEPTH_MAX);
    CHECK_EQ(extract(frame, 2 * BEAST_FRAME_DEPTH_MAX), BEAST_FRAME_OTHER);
    memset(frame, '[', BEAST_FRAME_DEPTH_MAX + 1);
    memset(frame + BEAST_FRAME_DEPTH_MAX + 1, ']', BEAST_FRAME_DEPTH_MAX + 1);
    CHECK_EQ(extract(frame, 2 * BEAST_FRAME_DEPTH_MAX + 2), BEAST_FRAME_MALFORMED);
    free(frame);
}

/* Ten thousand elements of a thousand symbols: the first 64 symbols, each with its newest trade. */
static void a_crowded_frame_is_cut_off(void)
{
    char *frame = malloc(HARNESS_ROOM);
    size_t len = (size_t)sprintf(frame, "{\"channel\":\"trade\",\"data\":[");
    for (int i = 0; i < 10000; i++)
        len += (size_t)sprintf(frame + len, "%s{\"symbol\":\"S%d\",\"price\":%d}", i ? "," : "", i % 1000, i + 1);
    len += (size_t)sprintf(frame + len, "]}");
    CHECK_EQ(extract(frame, len), BEAST_FRAME_TRADE);
    CHECK_EQ(out->trades->count, BEAST_TRADES_MAX);
    CHECK_EQ(out->trades->overflow, 10 * (1000 - BEAST_TRADES_MAX));
    CHECK_TEXT(out->trades->trade[5].price.ptr, out->trades->trade[5].price.len, "9006");
    free(frame);
}

static void plans_that_can_not_be_are_refused(void)
{
    beast_plan *bad = beast_plan_new();
    CHECK_EQ(beast_plan_seal(bad), BEAST_WRONG_STATE);
    CHECK_EQ(fixture_condition(bad, "a", BEAST_OP_EQ, "b"), BEAST_WRONG_STATE);
    CHECK_EQ(beast_plan_shape(bad), BEAST_OK);
    CHECK_EQ(beast_plan_seal(bad), BEAST_BAD_ARGUMENT);
    CHECK_EQ(fixture_condition(bad, "a.[first]", BEAST_OP_PRESENT, ""), BEAST_BAD_ARGUMENT);
    CHECK_EQ(fixture_value(bad, BEAST_ROLE_PRICE, "[first].[last].[first].[last].p", 0), BEAST_FULL);
    CHECK_EQ(fixture_value(bad, BEAST_ROLE_PRICE, "p", 0), BEAST_BAD_ARGUMENT);
    beast_plan_free(bad);

    bad = beast_plan_new();
    fixture_shape(bad, "a", "b", "x.[first].p", "y.[first].s", NULL, 0, NULL);
    CHECK_EQ(beast_plan_seal(bad), BEAST_BAD_ARGUMENT);
    beast_plan_free(bad);

    bad = beast_plan_new();
    CHECK_EQ(fixture_sequence(bad, "n.[first]"), BEAST_BAD_ARGUMENT);
    CHECK_EQ(fixture_sequence(bad, "n"), BEAST_BAD_ARGUMENT);
    beast_plan_free(bad);

    bad = beast_plan_new();
    CHECK_EQ(fixture_sequence(bad, "n"), BEAST_OK);
    CHECK_EQ(fixture_sequence(bad, "m"), BEAST_BAD_ARGUMENT);
    fixture_shape(bad, "a", "b", "p", "s", NULL, 0, NULL);
    CHECK_EQ(fixture_value(bad, BEAST_ROLE_SEQUENCE, "n", 0), BEAST_OK);
    CHECK_EQ(beast_plan_seal(bad), BEAST_BAD_ARGUMENT); /* frames or trades */
    beast_plan_free(bad);

    bad = beast_plan_new();
    CHECK_EQ(beast_plan_scale(bad, 1), BEAST_WRONG_STATE);
    CHECK_EQ(beast_plan_shape(bad), BEAST_OK);
    CHECK_EQ(beast_plan_scale(bad, BEAST_SCALE_MAX + 1), BEAST_FULL);
    CHECK_EQ(fixture_value(bad, BEAST_ROLE_SYMBOL, "[name]", 0), BEAST_BAD_ARGUMENT);
    beast_plan_free(bad);

    static const char *const nameless[] = {"a.[name]", "[first].[name]", "*.[name].b"};
    for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++) {
        bad = beast_plan_new();
        CHECK_EQ(beast_plan_shape(bad), BEAST_OK);
        CHECK_EQ(fixture_value(bad, BEAST_ROLE_SYMBOL, nameless[i], 0), BEAST_BAD_ARGUMENT);
        beast_plan_free(bad);
    }

    bad = beast_plan_new();
    CHECK_EQ(beast_plan_shape(bad), BEAST_OK);
    beast_status status = BEAST_OK;
    for (int i = 0; i < 200 && status == BEAST_OK; i++) {
        char path[64];
        snprintf(path, sizeof path, "a%d.b%d.c%d.d%d", i, i, i, i);
        status = fixture_condition(bad, path, BEAST_OP_PRESENT, "");
    }
    CHECK_EQ(status, BEAST_FULL);
    beast_plan_free(bad);
}

int main(void)
{
    plan = fixture_plan(FIXTURE_TRADES);
    out = calloc(1, sizeof *out);
    if (!plan || !out)
        return EXIT_FAILURE;
    RUN(trades_are_read);
    RUN(numbers_are_read);
    RUN(frames_are_numbered);
    RUN(every_beginning_of_a_frame_is_malformed_and_stays_inside);
    RUN(a_form_is_that_of_the_trade);
    RUN(members_are_walked);
    RUN(damaged_frames_stay_inside);
    RUN(deep_and_long_frames_end);
    RUN(a_crowded_frame_is_cut_off);
    RUN(plans_that_can_not_be_are_refused);
    beast_plan_free(plan);
    free(out);
    return harness_report();
}
