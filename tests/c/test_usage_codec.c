/* Runs of usage records: every member comes back, no byte is read or written outside, damage is refused. */
#include "flight.h"
#include "harness.h"
#include "usage_codec.h"
#include "usage_copy.h"

#define MANY 3000

static uint64_t chance = 7;
static beast_usage records[MANY], decoded[MANY];

static uint64_t below(uint64_t bound) { return harness_random(&chance) % bound; }

/* Any value, small and large ones alike. */
static uint64_t any(void) { return harness_random(&chance) >> below(64); }

static void fill(uint32_t n, uint64_t first)
{
    uint8_t lane = (uint8_t)any();
    for (uint32_t i = 0; i < n; i++) {
        beast_usage *record = &records[i];
        if (i > 0 && below(3)) {
            *record = records[i - 1]; /* repeats */
        } else {
            uint64_t words[6];
            for (int w = 0; w < 6; w++)
                words[w] = any() | any() << 32;
            memcpy(record, words, sizeof *record);
        }
        record->lane = lane;
        record->sequence = first + i;
    }
}

/* Encodes to where one byte more would be one too many, and decodes from there. */
static size_t round_trip(uint32_t n)
{
    size_t len = 0, most = beast_usage_encode_max(n);
    uint8_t *out = most <= HARNESS_ROOM ? harness_at_end(NULL, 0) - most : malloc(most);
    uint32_t count = 0;

    CHECK_EQ(beast_usage_encode(records, n, out, &len), BEAST_OK);
    CHECK(len <= most);
    uint8_t *copy = malloc(len);
    memcpy(copy, out, len);
    if (most > HARNESS_ROOM)
        free(out);
    const uint8_t *in = harness_at_end(copy, len);
    CHECK_EQ(beast_usage_decode_count(in, len, &count), BEAST_OK);
    CHECK_EQ(count, n);
    memset(decoded, 0xA5, n * sizeof *decoded);
    CHECK_EQ(beast_usage_decode(in, len, decoded, n), BEAST_OK);
    CHECK(memcmp(decoded, records, n * sizeof *records) == 0);
    free(copy);
    return len;
}

static void every_member_comes_back(void)
{
    for (uint32_t n = 1; n < 400; n++) {
        fill(n, any());
        round_trip(n);
    }
    fill(MANY, UINT64_MAX - MANY + 1);
    round_trip(MANY);
}

static void the_most_bytes_are_enough(void)
{
    /* Extremes in turn: the longest tokens there are. */
    for (uint32_t i = 0; i < MANY; i++) {
        memset(&records[i], i % 2 ? 0xFF : 0, sizeof *records);
        records[i].time_ns = i % 2 ? INT64_MAX : INT64_MIN;
        records[i].lane = 255;
        records[i].sequence = UINT64_MAX - MANY + i;
    }
    round_trip(MANY);
}

/* docs/usage.md explains these very bytes. */
static void the_bytes_are_as_documented(void)
{
    static const uint8_t want[] = {
        1, 2, 3, 41,                                                   /* version, lane, records, first sequence */
        0xC0, 0xE0, 0xD3, 0xB3, 0xDF, 0x83, 0xA2, 0xCB, 0x62, 0x00,    /* times: one, once again ... */
        0xA8, 0xBE, 0x02,                                              /* ... and 10,196 ns later */
        7, 0x00, 0xB9, 0x0F, 0x00,                                     /* keys: the least is 7, then 1,017 */
        0, 0x40, 0x01,                                                 /* key numbers: 0, and twice again */
        3, 0x40, 0x01,                                                 /* instruments */
        4, 0x00, 0x01, 0x05,                                           /* ages */
        0xA8, 0x46, 0x40, 0x01,                                        /* latencies: 9,000 */
        0, 0x40, 0x01,                                                 /* states */
        1, 0x40, 0x01,                                                 /* tiers */
        0, 0x40, 0x01,                                                 /* protocols */
        0, 0x40, 0x01,                                                 /* ways */
        1, 0x40, 0x01,                                                 /* prices */
        0, 0x40, 0x01,                                                 /* reserved */
    };
    uint8_t out[1024];
    size_t len;

    for (uint32_t i = 0; i < 3; i++)
        records[i] = (beast_usage){.time_ns = INT64_C(1776003781123456000), .sequence = 41 + i, .key_id = 7, .instrument = 3,
                                   .age_ms = 4, .latency_ns = 9000, .tier = 1, .lane = 2, .prices = 1};
    records[1].key_id = 1017 + 7;
    records[1].age_ms = 5;
    records[2].time_ns += 10196;
    records[2].age_ms = 9;
    CHECK_EQ(beast_usage_encode(records, 3, out, &len), BEAST_OK);
    CHECK_EQ(len, sizeof want);
    for (size_t i = 0; i < sizeof want && i < len; i++)
        CHECK_EQ(out[i], want[i]);
}

static void only_a_run_is_encoded(void)
{
    uint8_t out[2048];
    size_t len;
    fill(10, 5);
    CHECK_EQ(beast_usage_run(records, 10), 10);
    CHECK_EQ(beast_usage_encode(records, 0, out, &len), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_usage_encode(records, BEAST_USAGE_RUN_MAX + 1, out, &len), BEAST_BAD_ARGUMENT);
    records[7].sequence++;
    CHECK_EQ(beast_usage_run(records, 10), 7);
    CHECK_EQ(beast_usage_encode(records, 10, out, &len), BEAST_BAD_ARGUMENT);
    records[7].sequence--;
    records[3].lane++;
    CHECK_EQ(beast_usage_run(records, 10), 3);
    CHECK_EQ(beast_usage_encode(records, 10, out, &len), BEAST_BAD_ARGUMENT);
    fill(3, UINT64_MAX - 1);
    CHECK_EQ(beast_usage_run(records, 3), 2); /* numbers don't begin anew */
    CHECK_EQ(beast_usage_run(records, 0), 0);
}

/* Whatever the bytes are: an error or records, and never a byte outside of the input or the output. */
static void check_any(const uint8_t *bytes, size_t len)
{
    uint32_t n;
    const uint8_t *in = harness_at_end(bytes, len);
    if (beast_usage_decode_count(in, len, &n) != BEAST_OK || n > MANY)
        return;
    beast_usage *out = malloc(n * sizeof *out); /* the address sanitizer watches its ends */
    if (beast_usage_decode(in, len, out, n) == BEAST_OK)
        CHECK_EQ(beast_usage_run(out, n), n);
    free(out);
}

static void damage_is_refused(void)
{
    static uint8_t bytes[1 << 16];
    size_t len;
    for (int round = 0; round < 200; round++) {
        uint32_t n = 1 + (uint32_t)below(200);
        fill(n, any());
        CHECK_EQ(beast_usage_encode(records, n, bytes, &len), BEAST_OK);
        for (int i = 0; i < 200; i++) {
            size_t at = below(len), cut = below(len);
            uint8_t before = bytes[at];
            bytes[at] ^= (uint8_t)(1 + below(255));
            check_any(bytes, len);
            bytes[at] = before;
            check_any(bytes, cut);
            CHECK(beast_usage_decode(harness_at_end(bytes, cut), cut, decoded, n) != BEAST_OK);
        }
        bytes[len] = 0;
        CHECK_EQ(beast_usage_decode(harness_at_end(bytes, len + 1), len + 1, decoded, n), BEAST_BAD_ARGUMENT);
        CHECK_EQ(beast_usage_decode(harness_at_end(bytes, len), len, decoded, n + 1), BEAST_BAD_ARGUMENT);
    }
}

/* A count of repeats or records that reaches beyond the end, tokens that are too long or too large. */
static void lies_are_refused(void)
{
    static const struct {
        uint8_t bytes[24], len;
    } lies[] = {
        {{0}, 0},
        {{1}, 1},
        {{1, 0}, 2},
        {{1, 0, 0, 1}, 4},                                          /* no records */
        {{2, 0, 1, 1}, 4},                                          /* another version */
        {{1, 0, 0x81, 0x80, 0x40, 1}, 6},                           /* 2^20 + 1 records */
        {{1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 1}, 8},               /* 2^32 */
        {{1, 0, 2, 1, 0x40, 1, 0}, 7},                              /* three times for two records */
        {{1, 0, 2, 1, 0x40, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F}, 10},     /* 2^32 times */
        {{1, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 15}, /* a token without end */
        {{1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, 13},          /* a sequence of 70 bits */
        {{1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, 13},          /* numbers that begin anew */
        {{1, 0, 1, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x01}, 13},                      /* 2^32 in 32 bits */
    };
    uint32_t n;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const uint8_t *in = harness_at_end(lies[i].bytes, lies[i].len);
        CHECK(beast_usage_decode_count(in, lies[i].len, &n) != BEAST_OK ||
              beast_usage_decode(in, lies[i].len, decoded, n) != BEAST_OK);
    }
}

static void a_flight_tells_what_the_kernel_took(void)
{
    static beast_flight flight;
    for (uint32_t i = 0; i <= BEAST_FLIGHT_SPARE; i++)
        flight.recorded[i] = (UINT64_C(1) << i) - 1 ? (UINT64_C(1) << i % 64) - 1 : 0; /* i of them */
    CHECK_EQ(beast_flight_taken(&flight, 0), 0);
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_messages(2, 9)), 0);
    flight.message[2].msg_len = flight.message[3].msg_len = flight.message[5].msg_len = 1;
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_messages(2, 9)), 5); /* 4 stopped it */
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_messages(3, 4)), 3);
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_messages(0, 9)), 0);
    for (uint32_t i = 0; i < 3; i++)
        flight.end[i] = 100 * (i + 1);
    flight.message[BEAST_FLIGHT_SPARE].msg_len = 250;
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_stream(3)), 2);
    CHECK_EQ(beast_flight_taken(&flight, beast_flight_stream(1)), 1);
    memset(&flight, 0xFF, sizeof flight); /* whatever it may be */
    for (int i = 0; i < 10000; i++)
        CHECK(beast_flight_taken(&flight, any()) <= 64 * (BEAST_FLIGHT_SPARE + 1));
}

/* Names' rooms are copied whole: not beyond the last row, though, whatever the lengths are. */
static void rows_end_where_they_were_measured(void)
{
    uint8_t name[BEAST_COPY_NAME_MAX];
    memset(name, 'n', sizeof name);
    for (int round = 0; round < 2000; round++) {
        beast_copy_name names[4];
        beast_copy copy = {.node = name, .node_len = 1 + (uint32_t)below(64), .boot = round, .names = names, .n_names = 4};
        uint32_t n = 1 + (uint32_t)below(3), which;
        size_t len;
        for (int i = 0; i < 4; i++)
            names[i] = (beast_copy_name){name, name, (uint8_t)(1 + below(64)), (uint8_t)(1 + below(64))};
        for (uint32_t i = 0; i < n; i++)
            records[i] = (beast_usage){.instrument = (uint32_t)below(4), .state = (uint8_t)below(3), .way = (uint8_t)below(3),
                                       .protocol = (uint8_t)below(3), .latency_ns = (uint32_t)below(2)};
        CHECK_EQ(beast_copy_measure(&copy, records, n, &len, &which), BEAST_OK);
        uint8_t *out = harness_at_end(NULL, 0) - len;
        beast_copy_rows(&copy, records, n, out);
        const uint8_t *last = out + len - 4;
        CHECK_EQ(last[0], records[n - 1].latency_ns ? 0 : 0xFF); /* NULL's length, or the number */
        CHECK_EQ(last[3], records[n - 1].latency_ns ? 1 : 0xFF);
        records[n - 1].way = 3;
        CHECK_EQ(beast_copy_measure(&copy, records, n, &len, &which), BEAST_BAD_ARGUMENT);
        CHECK_EQ(which, n - 1);
        records[0].instrument = 4;
        CHECK_EQ(beast_copy_measure(&copy, records, n, &len, &which), BEAST_NOT_FOUND);
        CHECK_EQ(which, 0);
    }
}

int main(void)
{
    RUN(every_member_comes_back);
    RUN(the_most_bytes_are_enough);
    RUN(the_bytes_are_as_documented);
    RUN(only_a_run_is_encoded);
    RUN(damage_is_refused);
    RUN(lies_are_refused);
    RUN(rows_end_where_they_were_measured);
    RUN(a_flight_tells_what_the_kernel_took);
    return harness_report();
}
