/* A whole engine on loopback: what comes in is accounted for, and a stop loses nothing that was queued. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "engine_fixture.h"
#include "worker.h"

#define CLIENTS 24
#define ASK "{\"api_key\":\"tb_k\",\"asset\":\"BTC\"}"
#define ASK_MANY "{\"api_key\":\"tb_k\",\"assets\":[\"BTC\",\"ETH\",\"BTC\",\"XYZ\"]}"

static fixture f;
static int client[CLIENTS];

static void open_clients(void)
{
    f.peer.sin_port = htons((uint16_t)beast_engine_udp_port(f.engine));
    for (int i = 0; i < CLIENTS; i++) {
        int size = 8 << 20;
        client[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        setsockopt(client[i], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
        CHECK_EQ(connect(client[i], (struct sockaddr *)&f.peer, sizeof f.peer), 0);
    }
}

static void start(uint32_t workers)
{
    beast_engine_config config = fixture_config();
    const char *where;

    config.workers = workers;
    config.usage_ring = 1 << 16;
    fixture_open(&f, &config);
    fixture_publish(&f, BTC_COINBASE, "83421.57", beast_moment_now().now_ns);
    CHECK_EQ(beast_engine_start(f.engine, &where), BEAST_OK);
    CHECK_EQ(beast_engine_start(f.engine, &where), BEAST_WRONG_STATE);
    CHECK(beast_engine_udp_port(f.engine) > 0);
    CHECK_EQ(beast_engine_http_port(f.engine), -1);
    open_clients();
}
static void finish(void)
{
    for (int i = 0; i < CLIENTS; i++)
        close(client[i]);
    fixture_close(&f);
}

/* Reads everything there is, until `want` came or nothing more does. */
static uint64_t read_all(uint64_t want)
{
    struct pollfd ready[CLIENTS];
    uint8_t buffer[2048];
    uint64_t got = 0;

    for (int i = 0; i < CLIENTS; i++)
        ready[i] = (struct pollfd){.fd = client[i], .events = POLLIN};
    while (got < want && poll(ready, CLIENTS, 300) > 0)
        for (int i = 0; i < CLIENTS; i++) {
            ssize_t len;
            while ((len = recv(client[i], buffer, sizeof buffer, 0)) > 0) {
                CHECK(buffer[0] == '{');
                got++;
            }
        }
    return got;
}

static void a_load_adds_up(void)
{
    const char *mix[] = {ASK, ASK_MANY, "{\"api_key\":\"no\",\"asset\":\"BTC\"}", "{\"asset\":", ASK, "", ASK};
    uint64_t sent = 0;

    start(2);
    beast_source_limit_set(f.shared->sources, 0);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < CLIENTS; i++)
            for (size_t m = 0; m < sizeof mix / sizeof *mix; m++)
                sent += send(client[i], mix[m], strlen(mix[m]), 0) >= 0;
        read_all(5 * CLIENTS);
    }
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_packets_received), sent);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), 200 * CLIENTS * 4);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_refused), 200 * CLIENTS);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_ignored), 200 * CLIENTS * 2);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_packets_sent), 200 * CLIENTS * 5);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_usage_records), fixture_counter(&f, BEAST_COUNTER_udp_answered));
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_send_errors), 0);
    fixture_adds_up(&f);
    finish();
}

static void stop_answers_what_was_queued(void)
{
    uint64_t sent = 0;

    start(2);
    for (int i = 0; i < 6000; i++)
        sent += send(client[i % CLIENTS], ASK, strlen(ASK), 0) > 0;
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), sent);
    CHECK_EQ(read_all(sent), sent);
    fixture_adds_up(&f);
    CHECK_EQ(beast_engine_stop(f.engine, SECOND), BEAST_WRONG_STATE);
    finish();
}

static _Atomic uint32_t flooding;

static void *flood(void *unused)
{
    while (atomic_load(&flooding))
        for (int i = 0; i < CLIENTS; i++)
            send(client[i], ASK, strlen(ASK), 0);
    return unused;
}

static void stop_ends_under_load(void)
{
    pthread_t thread;

    start(1);
    atomic_store(&flooding, 1);
    CHECK_EQ(pthread_create(&thread, NULL, flood, NULL), 0);
    while (fixture_counter(&f, BEAST_COUNTER_udp_answered) < 5000)
        usleep(1000);
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    atomic_store(&flooding, 0);
    pthread_join(thread, NULL);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), fixture_counter(&f, BEAST_COUNTER_udp_packets_received));
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), fixture_counter(&f, BEAST_COUNTER_udp_packets_sent) +
                                                                  fixture_counter(&f, BEAST_COUNTER_udp_send_errors));
    finish();
}

static uint32_t wait_for(beast_counter which, uint64_t count)
{
    for (int i = 0; i < 2000; i++, usleep(1000))
        if (fixture_counter(&f, which) >= count)
            return 1;
    return 0;
}

static void a_miss_waits_and_is_resumed(void)
{
    const char ask[] = "{\"api_key\":\"few\",\"assets\":[\"BTC\",\"ETH\"]}";
    beast_miss miss;
    uint64_t wakes;

    start(1);
    fixture_key(&f, "few", 9, 1, 1, false, 1);
    beast_shared_set_parking(f.shared, true, 2 * SECOND);
    CHECK(send(client[3], ask, sizeof ask - 1, 0) > 0);
    CHECK(wait_for(BEAST_COUNTER_udp_parked, 1));
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_usage_records), 0);
    while (read(f.shared->wake_fd, &wakes, sizeof wakes) < 0 && errno == EAGAIN)
        usleep(1000);
    CHECK(beast_miss_take(beast_engine_lane(f.engine, 0)->misses, &miss));
    CHECK_EQ(miss.len, sizeof ask - 1);
    CHECK(memcmp(miss.datagram, ask, miss.len) == 0);
    beast_moment now = beast_moment_now();
    CHECK(miss.deadline_ns > now.now_ns && miss.deadline_ns <= now.now_ns + 2 * SECOND);
    fixture_publish(&f, ETH_KRAKEN, "3000", now.now_ns);
    CHECK_EQ(beast_engine_resume(f.engine, &miss, &now), BEAST_OK); /* no second count against the rate */
    CHECK_EQ(read_all(1), 1);
    uint64_t waited[BEAST_HISTOGRAM_BUCKETS] = {0}, all = 0;
    beast_histogram_sum(&f.own->parked, waited);
    for (int i = 0; i < BEAST_HISTOGRAM_BUCKETS; i++)
        all += waited[i];
    CHECK_EQ(all, 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), 1);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_parked), 0);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_usage_records), 1);
    fixture_adds_up(&f);
    CHECK_EQ(beast_engine_stop(f.engine, SECOND), BEAST_OK);
    CHECK_EQ(beast_engine_resume(f.engine, &miss, &now), BEAST_WRONG_STATE);
    finish();
}

static void a_full_miss_ring_is_unavailable_and_stop_tells_the_parked(void)
{
    const char ask[] = "{\"api_key\":\"tb_k\",\"asset\":\"ETH\"}";

    start(1);
    beast_shared_set_parking(f.shared, true, 2 * SECOND);
    for (int i = 0; i < 20; i++)
        CHECK(send(client[i], ask, sizeof ask - 1, 0) > 0);
    CHECK(wait_for(BEAST_COUNTER_miss_overflows, 4));
    CHECK_EQ(read_all(4), 4);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_parked), 16);
    CHECK_EQ(beast_engine_stop(f.engine, SECOND), BEAST_OK);
    CHECK_EQ(read_all(16), 16);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_parked), 0);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_refused), 20);
    fixture_adds_up(&f);
    finish();
}

/* Sends `n` requests as one message, and reads the answers one by one. */
static void send_merged(int i, const char *ask, uint32_t n)
{
    char bytes[4096];
    uint16_t len = (uint16_t)strlen(ask);
    int cut = len, none = 0;

    for (uint32_t k = 0; k < n; k++)
        memcpy(bytes + k * len, ask, len);
    CHECK_EQ(setsockopt(client[i], SOL_UDP, UDP_SEGMENT, &cut, sizeof cut), 0);
    CHECK_EQ(send(client[i], bytes, n * len, 0), n * len);
    setsockopt(client[i], SOL_UDP, UDP_SEGMENT, &none, sizeof none);
}

static void merged_requests_get_an_answer_each(void)
{
    start(1);
    beast_udp_features features = beast_engine_udp_features(f.engine);
    if (!features.gro || !features.segment) {
        fprintf(stderr, "  this kernel has no UDP_GRO or no UDP_SEGMENT: left out\n");
        beast_engine_stop(f.engine, SECOND);
        finish();
        return;
    }
    for (uint32_t n = 1; n <= 60; n++) {
        send_merged((int)n % CLIENTS, ASK, n);
        CHECK_EQ(read_all(n), n);
    }
    send_merged(0, ASK_MANY, 40);
    CHECK_EQ(read_all(40), 40);
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_answered), 60 * 61 / 2 + 40);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_packets_sent), 60 * 61 / 2 + 40);
    fixture_adds_up(&f);
    finish();
}

static void spinning_and_timing_change_no_answer(void)
{
    beast_engine_config config = fixture_config();
    uint64_t sum[BEAST_HISTOGRAM_BUCKETS] = {0}, timed = 0;
    const char *where;

    config.spin_ns = BEAST_SPIN_MAX_NS + 1;
    CHECK(beast_engine_new(&config) == NULL);
    config.spin_ns = BEAST_SPIN_MAX_NS;
    config.latency_sample = 2;
    fixture_open(&f, &config);
    fixture_publish(&f, BTC_COINBASE, "83421.57", beast_moment_now().now_ns);
    CHECK_EQ(beast_engine_start(f.engine, &where), BEAST_OK);
    open_clients();
    for (int i = 0; i < 200; i++) {
        CHECK(send(client[i % CLIENTS], ASK, strlen(ASK), 0) > 0);
        CHECK_EQ(read_all(1), 1);
    }
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    beast_histogram_sum(&beast_engine_lane(f.engine, 0)->latency, sum);
    for (uint32_t i = 0; i < BEAST_HISTOGRAM_BUCKETS; i++)
        timed += sum[i];
    CHECK(timed >= 50 && timed <= 200);
    CHECK_EQ(sum[BEAST_HISTOGRAM_BUCKETS - 1], 0);
    fixture_adds_up(&f);
    finish();
}

static void a_taken_port_undoes_everything(void)
{
    beast_engine_config config = fixture_config();
    const char *where = NULL;
    fixture second;

    start(2);
    config.udp_port = beast_engine_udp_port(f.engine);
    fixture_open(&second, &config);
    CHECK_EQ(beast_engine_start(second.engine, &where), BEAST_SYSTEM);
    CHECK_EQ(errno, EADDRINUSE);
    CHECK_TEXT(where, strlen(where), "udp");
    CHECK_EQ(beast_engine_udp_port(second.engine), -1);
    CHECK_EQ(beast_engine_stop(f.engine, SECOND), BEAST_OK);
    CHECK_EQ(beast_engine_start(second.engine, &where), BEAST_OK); /* the port is free again */
    CHECK_EQ(beast_engine_stop(second.engine, SECOND), BEAST_OK);
    fixture_close(&second);
    finish();
}

static void a_bad_configuration_is_refused(void)
{
    beast_engine_config config = fixture_config();

    config.node = "say \"hi\"";
    CHECK(beast_engine_new(&config) == NULL && errno == EINVAL);
    config = fixture_config();
    config.workers = BEAST_ENGINE_WORKERS_MAX + 1;
    CHECK(beast_engine_new(&config) == NULL && errno == EINVAL);
}

int main(void)
{
    RUN(a_load_adds_up);
    RUN(stop_answers_what_was_queued);
    RUN(stop_ends_under_load);
    RUN(a_miss_waits_and_is_resumed);
    RUN(a_full_miss_ring_is_unavailable_and_stop_tells_the_parked);
    RUN(merged_requests_get_an_answer_each);
    RUN(spinning_and_timing_change_no_answer);
    RUN(a_taken_port_undoes_everything);
    RUN(a_bad_configuration_is_refused);
    return harness_report();
}
