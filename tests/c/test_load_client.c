/* The load client's checks on texts, and its runs against servers that behave badly in a way we choose. */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

#include "harness.h"
#include "load_client.h"

#define BODY                                                                                                         \
    "{\"asset\":\"BTC\",\"price\":83421.57,\"currency\":\"USD\",\"exchange\":\"coinbase\",\"source\":\"coinbase-ws\"," \
    "\"timestamp\":\"2026-04-12T14:23:01.123456Z\",\"age_ms\":     4,\"state\":\"live\",\"tier\":1,\"node\":\"N\""

static beast_slice slice(const char *text)
{
    return (beast_slice){(const uint8_t *)text, (uint32_t)strlen(text)};
}

static beast_load_answer read_http(const char *text)
{
    beast_load_expected expected = {.asset = slice("BTC"), .max_age_ms = 1000};
    return beast_load_read(&expected, harness_at_end(text, strlen(text)), strlen(text));
}

/* BODY with the first `from` replaced. */
static const char *but(const char *from, const char *to)
{
    static char changed[1024];
    const char *body = BODY "}", *at = strstr(body, from);
    CHECK(at != NULL);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - body), body, to, at + strlen(from));
    return changed;
}

static void a_right_answer_is_right(void)
{
    CHECK_EQ(read_http(BODY "}").fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_http(but("123456Z", "123456789Z")).fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_http(but("\"live\"", "\"quiet\"")).fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_http(but("     4", "  1000")).fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_http(but("\"N\"", "\"N\\\"\\\\\"")).fault, BEAST_LOAD_FAULT_NONE);
}

static void each_member_is_looked_at(void)
{
    static const struct {
        const char *from, *to;
        beast_load_fault fault;
    } changes[] = {
        {"\"BTC\"", "\"ETH\"", BEAST_LOAD_FAULT_ASSET},
        {"\"live\"", "\"stale\"", BEAST_LOAD_FAULT_STALE},
        {"     4", "  1001", BEAST_LOAD_FAULT_AGE},
        {"     4", "1234567", BEAST_LOAD_FAULT_AGE},
        {"     4", "4", BEAST_LOAD_FAULT_MALFORMED},
        {"     4", "      4", BEAST_LOAD_FAULT_MALFORMED},
        {"\"live\"", "\"dead\"", BEAST_LOAD_FAULT_MALFORMED},
        {"83421.57", "83421.", BEAST_LOAD_FAULT_MALFORMED},
        {"83421.57", "\"83421.57\"", BEAST_LOAD_FAULT_MALFORMED},
        {"83421.57", "1e5", BEAST_LOAD_FAULT_MALFORMED},
        {"83421.57", "083421.57", BEAST_LOAD_FAULT_MALFORMED},
        {"83421.57", "-3421.57", BEAST_LOAD_FAULT_MALFORMED},
        {"coinbase-ws", "kraken-ws", BEAST_LOAD_FAULT_MALFORMED},
        {"123456Z", "12345Z", BEAST_LOAD_FAULT_MALFORMED},
        {"T14:", " 14:", BEAST_LOAD_FAULT_MALFORMED},
        {"\"tier\":1", "\"tier\":4", BEAST_LOAD_FAULT_MALFORMED},
        {"\"USD\"", "\"\"", BEAST_LOAD_FAULT_MALFORMED},
        {"\"asset\"", "\"price\"", BEAST_LOAD_FAULT_MALFORMED},
        {",\"currency\"", ", \"currency\"", BEAST_LOAD_FAULT_MALFORMED},
        {"\"node\"", "\"more\":1,\"node\"", BEAST_LOAD_FAULT_MALFORMED},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *text = but(changes[i].from, changes[i].to);
        if (read_http(text).fault != changes[i].fault)
            harness_fail(__FILE__, __LINE__, text);
    }
    beast_load_expected kraken = {.asset = slice("BTC"), .exchange = slice("kraken"), .max_age_ms = -1};
    CHECK_EQ(beast_load_read(&kraken, (const uint8_t *)BODY "}", strlen(BODY "}")).fault, BEAST_LOAD_FAULT_EXCHANGE);
}

static void every_cut_is_malformed_and_reads_nothing_outside(void)
{
    const char *whole = BODY "}";
    beast_load_expected expected = {.asset = slice("BTC"), .max_age_ms = -1};
    for (size_t len = 0; len < strlen(whole); len++)
        CHECK_EQ(beast_load_read(&expected, harness_at_end(whole, len), len).fault, BEAST_LOAD_FAULT_MALFORMED);
}

static void a_datagram_ends_with_its_id_and_padding(void)
{
    beast_load_expected expected = {.asset = slice("BTC"), .max_age_ms = -1, .udp = true};
    char padded[320];
    memset(padded, ' ', sizeof padded);
    memcpy(padded, BODY ",\"id\":1234567890}", strlen(BODY ",\"id\":1234567890}"));
    CHECK_EQ(beast_load_read(&expected, (uint8_t *)padded, 256).fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(beast_load_read(&expected, (uint8_t *)padded, 320).fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(beast_load_read(&expected, (uint8_t *)padded, 257).fault, BEAST_LOAD_FAULT_MALFORMED);
    CHECK_EQ(beast_load_read(&expected, (uint8_t *)padded, 250).fault, BEAST_LOAD_FAULT_MALFORMED);
    expected.udp = false;
    CHECK_EQ(beast_load_read(&expected, (uint8_t *)padded, 256).fault, BEAST_LOAD_FAULT_MALFORMED);
}

static void errors_are_refusals(void)
{
    beast_load_answer limited = read_http("{\"error\":\"rate_limited\",\"message\":\"slow\",\"retry_after_ms\":12}");
    beast_load_answer bare = read_http("{\"error\":\"unauthorized\"}");
    beast_load_answer stale = read_http("{\"error\":\"stale\",\"message\":\"m\",\"last\":{\"price\":1.5,"
                                        "\"timestamp\":\"2026-04-12T14:23:01.123456Z\",\"age_ms\":61204}}");
    CHECK_EQ(limited.fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(limited.result, BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(bare.result, BEAST_RESULT_UNAUTHORIZED);
    CHECK_EQ(stale.fault, BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(stale.result, BEAST_RESULT_STALE);
    CHECK_EQ(read_http("{\"error\":\"rate_limited\"}").fault, BEAST_LOAD_FAULT_MALFORMED);
    CHECK_EQ(read_http("{\"error\":\"\"}").fault, BEAST_LOAD_FAULT_MALFORMED);
    CHECK_EQ(read_http("{\"error\":\"no_such\"}").fault, BEAST_LOAD_FAULT_MALFORMED);
    CHECK_EQ(read_http("{\"error\":\"stale\"}}").fault, BEAST_LOAD_FAULT_MALFORMED);
}

static void buckets_are_in_order_and_close(void)
{
    for (uint64_t ns = 1; ns < UINT64_MAX / 3; ns += ns / 7 + 1) {
        uint32_t bucket = beast_load_bucket(ns);
        CHECK(bucket < BEAST_LOAD_BUCKETS);
        CHECK(beast_load_bucket_ns(bucket) <= ns && ns < beast_load_bucket_ns(bucket + 1));
        CHECK(beast_load_bucket_ns(bucket + 1) - beast_load_bucket_ns(bucket) <= ns / 16 + 1);
    }
}

/* A UDP server that answers request number n as its `answer` says. */
typedef struct server {
    int fd;
    atomic_bool stop;
    pthread_t thread;
    uint32_t seen;
    void (*answer)(struct server *server, const char *id, const struct sockaddr *peer);
} server;

static void put_answer(server *s, const char *id, const struct sockaddr *peer, const char *asset)
{
    char text[320];
    int len = snprintf(text, sizeof text, "{\"asset\":\"%s%s,\"id\":%.10s}", asset, BODY + strlen("{\"asset\":\"BTC"), id);
    memset(text + len, ' ', sizeof text - (size_t)len);
    sendto(s->fd, text, 256, 0, peer, sizeof(struct sockaddr_in));
}

static void *serve(void *argument)
{
    server *s = argument;
    while (!atomic_load(&s->stop)) {
        char request[512];
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        ssize_t len = recvfrom(s->fd, request, sizeof request - 1, 0, (struct sockaddr *)&peer, &size);
        if (len <= 0)
            continue;
        request[len] = '\0';
        const char *id = strstr(request, "\"id\":");
        s->seen++;
        s->answer(s, id ? id + 5 : "", (struct sockaddr *)&peer);
    }
    return NULL;
}

static beast_load_config start(server *s, void (*answer)(server *, const char *, const struct sockaddr *))
{
    static beast_slice key, asset;
    const struct timeval tick = {.tv_usec = 10000};
    beast_load_config config = {.sockets = 2, .in_flight = 8, .duration_ns = 60000000, .timeout_ns = 1000000000,
                                .check = BEAST_LOAD_CHECK_ALL, .max_age_ms = -1, .burst = 1};
    *s = (server){.fd = socket(AF_INET, SOCK_DGRAM, 0), .answer = answer};
    key = slice("tb_key");
    asset = slice("BTC");
    config.keys = &key;
    config.assets = &asset;
    config.n_keys = config.n_assets = 1;
    beast_address_parse("127.0.0.1", 0, &config.peer);
    bind(s->fd, beast_address_of(&config.peer), config.peer.len);
    getsockname(s->fd, (struct sockaddr *)&config.peer.storage, &config.peer.len);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    pthread_create(&s->thread, NULL, serve, s);
    return config;
}

static beast_load_report *run(server *s, const beast_load_config *config, beast_status want)
{
    static beast_load_report report;
    static const atomic_bool never;
    memset(&report, 0, sizeof report);
    CHECK_EQ(beast_load_run(config, &never, &report), want);
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    close(s->fd);
    return &report;
}

static uint64_t wrong_in_flight(const beast_load_report *r)
{
    uint64_t sum = 0;
    for (int i = BEAST_LOAD_FAULT_STRAY + 1; i < BEAST_LOAD_FAULT_COUNT; i++)
        sum += r->wrong[i];
    return sum;
}

static void answer_well(server *s, const char *id, const struct sockaddr *peer) { put_answer(s, id, peer, "BTC"); }

static void answer_badly(server *s, const char *id, const struct sockaddr *peer)
{
    switch (s->seen % 5) {
    case 0: /* twice */
        put_answer(s, id, peer, "BTC");
        put_answer(s, id, peer, "BTC");
        break;
    case 1:
        put_answer(s, id, peer, "ETH");
        break;
    case 2:
        put_answer(s, "9999999999", peer, "BTC"); /* nobody asked this; the request itself stays without answer */
        break;
    case 3:
        sendto(s->fd, "hello", 5, 0, peer, sizeof(struct sockaddr_in));
        put_answer(s, id, peer, "BTC");
        break;
    default:
        put_answer(s, id, peer, "BTC");
    }
}

static void a_good_server_loses_nothing(void)
{
    server s;
    beast_load_config config = start(&s, answer_well);
    const beast_load_report *r = run(&s, &config, BEAST_OK);
    CHECK(r->answered > 8);
    CHECK_EQ(r->sent, r->answered);
    CHECK_EQ(r->lost + r->wrong[BEAST_LOAD_FAULT_STRAY] + wrong_in_flight(r), 0);
    CHECK(r->elapsed_ns >= config.duration_ns && r->worst_ns > 0);
}

static void a_bad_server_is_seen_through(void)
{
    server s;
    beast_load_config config = start(&s, answer_badly);
    config.timeout_ns = 40000000;
    const beast_load_report *r = run(&s, &config, BEAST_OK);
    CHECK(r->answered > 0);
    CHECK(r->lost > 0);
    CHECK(r->wrong[BEAST_LOAD_FAULT_ASSET] > 0);
    CHECK(r->wrong[BEAST_LOAD_FAULT_STRAY] > 0);
    CHECK(r->sample_len > 0);
    CHECK_EQ(r->sent, r->answered + r->lost + wrong_in_flight(r));
}

/* Asleep for 30 ms once: whatever came due meanwhile counts its wait. */
static void answer_after_a_stall(server *s, const char *id, const struct sockaddr *peer)
{
    if (s->seen == 5)
        usleep(30000);
    put_answer(s, id, peer, "BTC");
}

static void a_stall_can_not_hide(uint32_t nap_us)
{
    server s;
    beast_load_config config = start(&s, answer_after_a_stall);
    config.in_flight = 0;
    config.rate = 2000;
    config.nap_us = nap_us;
    const beast_load_report *r = run(&s, &config, BEAST_OK);
    uint64_t slow = 0;
    for (uint32_t i = beast_load_bucket(5000000); i < BEAST_LOAD_BUCKETS; i++)
        slow += r->latency[i];
    CHECK_EQ(r->sent + r->unsent, 120);
    CHECK(slow >= 20);
    CHECK(r->worst_ns >= 29000000);
}

static void a_stall_can_not_hide_in_the_open_loop(void) { a_stall_can_not_hide(0); }

static void nor_from_a_client_that_naps(void) { a_stall_can_not_hide(50); }

static void segments_are_cut_and_joined(void)
{
    server s;
    if (!beast_load_can_segment())
        return;
    beast_load_config config = start(&s, answer_well);
    config.protocol = BEAST_LOAD_UDP_SEGMENT;
    const beast_load_report *r = run(&s, &config, BEAST_OK);
    CHECK(r->answered > 8);
    CHECK_EQ(r->sent, r->answered);
}

static void nobody_there_is_told_by_http_and_counted_by_udp(void)
{
    server s;
    beast_load_config config = start(&s, answer_well);
    config.protocol = BEAST_LOAD_HTTP;
    run(&s, &config, BEAST_SYSTEM); /* nobody listens on this port of TCP */
    config.protocol = BEAST_LOAD_UDP;
    s.stop = true;
    beast_load_report report = {0};
    const atomic_bool never = false;
    CHECK_EQ(beast_load_run(&config, &never, &report), BEAST_OK);
    CHECK(report.sent > 0 && report.lost == report.sent); /* a refusal can stop a batch half-way */
}

static void nonsense_is_refused(void)
{
    static beast_load_report report;
    const atomic_bool never = false;
    server s;
    const beast_load_config good = start(&s, answer_well);
    beast_load_config bad[] = {good, good, good, good};
    bad[0].in_flight = 1; /* fewer than sockets */
    bad[1].in_flight = 2 * BEAST_LOAD_WINDOW_MAX + 1;
    bad[2].n_keys = 0;
    bad[3].rate = 1, bad[3].burst = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(beast_load_run(&bad[i], &never, &report), BEAST_BAD_ARGUMENT);
    run(&s, &good, BEAST_OK);
}

/* A reader and a stop from another thread, for the thread sanitizer. */
typedef struct stopper {
    atomic_bool stop;
    beast_load_report report;
} stopper;

static void *watch_and_stop(void *argument)
{
    stopper *s = argument;
    while (s->report.answered < 20)
        usleep(1000);
    atomic_store(&s->stop, true);
    return NULL;
}

static void another_thread_may_watch_and_stop(void)
{
    static stopper shared;
    server s;
    pthread_t watcher;
    beast_load_config config = start(&s, answer_well);
    config.duration_ns = INT64_C(60000000000);
    pthread_create(&watcher, NULL, watch_and_stop, &shared);
    CHECK_EQ(beast_load_run(&config, &shared.stop, &shared.report), BEAST_OK);
    pthread_join(watcher, NULL);
    CHECK_EQ(shared.report.sent, shared.report.answered);
    config.duration_ns = 1;
    run(&s, &config, BEAST_OK);
}

int main(void)
{
    RUN(a_right_answer_is_right);
    RUN(each_member_is_looked_at);
    RUN(every_cut_is_malformed_and_reads_nothing_outside);
    RUN(a_datagram_ends_with_its_id_and_padding);
    RUN(errors_are_refusals);
    RUN(buckets_are_in_order_and_close);
    RUN(a_good_server_loses_nothing);
    RUN(a_bad_server_is_seen_through);
    RUN(a_stall_can_not_hide_in_the_open_loop);
    RUN(nor_from_a_client_that_naps);
    RUN(segments_are_cut_and_joined);
    RUN(nobody_there_is_told_by_http_and_counted_by_udp);
    RUN(nonsense_is_refused);
    RUN(another_thread_may_watch_and_stop);
    return harness_report();
}
