/* A usage record is what an answer costs once the kernel has all of it: answers that are refused, wait for a slow reader
 * or die with his connection cost nothing before, and what they took from their key's allowance is given back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_fixture.h"
#include "worker.h"

#define CAP 1000000
#define RECORDS (1 << 17)
#define REQUEST "GET /price?asset=BTC HTTP/1.1\r\nHost: h\r\nX-API-Key: capped\r\n\r\n"

static fixture f;
static beast_usage records[RECORDS];

static void start(uint32_t ring)
{
    const char *where = "";
    beast_engine_config config = fixture_config();

    config.http_port = 0;
    config.usage_ring = ring;
    config.http.send_ns = config.http.idle_ns = 20 * SECOND;
    fixture_open(&f, &config);
    fixture_key(&f, "capped", 9, 0, 0, false, CAP);
    fixture_publish(&f, BTC_COINBASE, "83421.57", harness_now_ns());
    CHECK_EQ(beast_engine_start(f.engine, &where), BEAST_OK);
}

static void finish(void)
{
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    fixture_close(&f);
}

static int64_t allowance(void)
{
    uint8_t digest[32];
    beast_sha256((const uint8_t *)"capped", 6, digest);
    const beast_key *key = beast_key_by_digest(f.shared->keys, digest);
    return beast_allowance_of(atomic_load(&key->balance));
}

static uint32_t take(uint32_t lane)
{
    return beast_usage_take(beast_engine_lane(f.engine, lane)->usage, records, RECORDS);
}

static uint64_t count(beast_counter which) { return fixture_counter(&f, which); }

static int connect_client(int receive_buffer)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)beast_engine_http_port(f.engine))};
    struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    CHECK_EQ(connect(fd, (struct sockaddr *)&server, sizeof server), 0);
    return fd;
}

/* Whole requests, until the server reads no more; returns how many. */
static uint64_t fill(int fd)
{
    const size_t len = sizeof(REQUEST) - 1;
    size_t sent = 0;

    for (int quiet = 0; quiet < 100;) {
        size_t in = sent % len;
        ssize_t n = send(fd, REQUEST REQUEST REQUEST + in, 2 * len - in, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            quiet = 0;
        } else {
            usleep(1000);
            quiet++;
        }
    }
    return sent / len;
}

/* Answers in what can be read now, whole ones, as their ends tell. */
static uint64_t hear(int fd, uint64_t wanted)
{
    static char bytes[1 << 16];
    uint64_t answers = 0;
    size_t kept = 0;

    while (answers < wanted) {
        ssize_t n = recv(fd, bytes + kept, sizeof bytes - kept, 0);
        if (n <= 0)
            break;
        size_t len = kept + (size_t)n, from = 0;
        for (char *at; (at = memmem(bytes + from, len - from, "\"}", 2)); from = (size_t)(at - bytes) + 2)
            answers++;
        kept = len - from;
        memmove(bytes, bytes + from, kept);
    }
    return answers;
}

static void check_run(uint32_t n, uint64_t first)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < n; i++)
        wrong += records[i].sequence != first + i || records[i].key_id != 9 || records[i].latency_ns == 0 ||
                 records[i].key_number != 0;
    CHECK_EQ(wrong, 0);
}

static bool eventually(uint64_t wanted, beast_counter which)
{
    for (int i = 0; i < 5000 && count(which) < wanted; i++)
        usleep(1000);
    return count(which) >= wanted;
}

static void a_slow_reader_pays_for_what_he_was_sent(void)
{
    start(RECORDS);
    int slow = connect_client(8192);
    uint64_t asked = fill(slow), waiting;
    CHECK(asked > 1000);
    uint64_t answered = count(BEAST_COUNTER_http_answered), recorded = count(BEAST_COUNTER_usage_records);
    CHECK(answered > recorded); /* what the kernel did not take is in no ring ... */
    waiting = answered - recorded;
    CHECK_EQ(allowance(), CAP - (int64_t)answered);
    uint32_t first = take(1);
    CHECK_EQ(first, recorded);
    check_run(first, 1);
    int other = connect_client(0); /* ... and holds nobody else up */
    CHECK_EQ(send(other, REQUEST, sizeof(REQUEST) - 1, 0), (ssize_t)sizeof(REQUEST) - 1);
    CHECK_EQ(hear(other, 1), 1);
    CHECK(eventually(recorded + 1, BEAST_COUNTER_usage_records));
    CHECK_EQ(take(1), 1);
    check_run(1, first + 1);
    CHECK_EQ(hear(slow, asked), asked);
    CHECK(eventually(asked + 1, BEAST_COUNTER_usage_records));
    uint32_t rest = take(1);
    CHECK_EQ(rest, asked - recorded);
    CHECK(rest >= waiting);
    check_run(rest, first + 2);
    CHECK_EQ(allowance(), CAP - (int64_t)asked - 1);
    close(slow);
    close(other);
    finish();
}

static void answers_that_die_with_their_connection_cost_nothing(void)
{
    start(RECORDS);
    int slow = connect_client(8192);
    fill(slow);
    uint64_t answered = count(BEAST_COUNTER_http_answered), recorded = count(BEAST_COUNTER_usage_records);
    CHECK(answered > recorded);
    close(slow);
    CHECK(eventually(1, BEAST_COUNTER_http_closed));
    CHECK_EQ(take(1), recorded);
    CHECK_EQ(count(BEAST_COUNTER_usage_records), recorded);
    CHECK_EQ(allowance(), CAP - (int64_t)recorded);
    int next = connect_client(0);
    CHECK_EQ(send(next, REQUEST, sizeof(REQUEST) - 1, 0), (ssize_t)sizeof(REQUEST) - 1);
    CHECK_EQ(hear(next, 1), 1);
    CHECK(eventually(recorded + 1, BEAST_COUNTER_usage_records));
    CHECK_EQ(take(1), 1);
    check_run(1, recorded + 1); /* no sequence was used up */
    close(next);
    finish();
}

/* Also where the ring is full by the time that a slow reader takes his answers: then they are lost, and counted. */
static void a_full_ring_loses_by_count(void)
{
    start(64);
    int slow = connect_client(8192);
    uint64_t asked = fill(slow);
    CHECK_EQ(hear(slow, asked), asked);
    CHECK(eventually(asked - 64, BEAST_COUNTER_usage_lost));
    CHECK_EQ(count(BEAST_COUNTER_usage_records), 64);
    CHECK_EQ(count(BEAST_COUNTER_usage_lost), asked - 64);
    CHECK_EQ(take(1), 64);
    int next = connect_client(0);
    CHECK_EQ(send(next, REQUEST, sizeof(REQUEST) - 1, 0), (ssize_t)sizeof(REQUEST) - 1);
    CHECK_EQ(hear(next, 1), 1);
    CHECK(eventually(65, BEAST_COUNTER_usage_records));
    CHECK_EQ(take(1), 1);
    CHECK_EQ(records[0].sequence, asked + 1); /* the gap is as long as the loss */
    close(slow);
    close(next);
    finish();
}

static beast_miss miss_of(const char *datagram, uint16_t port, int64_t received_ns)
{
    beast_miss miss = {.lane = 0, .received_ns = received_ns, .deadline_ns = INT64_MAX, .len = (uint16_t)strlen(datagram)};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t digest[32];

    beast_sha256((const uint8_t *)"capped", 6, digest);
    miss.key_number = beast_key_number(f.shared->keys, beast_key_by_digest(f.shared->keys, digest));
    memcpy(&miss.peer, &peer, sizeof peer);
    miss.peer_len = sizeof peer;
    memcpy(miss.datagram, datagram, miss.len);
    return miss;
}

static void a_refused_datagram_costs_nothing(void)
{
    const char ask[] = "{\"api_key\":\"capped\",\"asset\":\"BTC\"}";
    beast_moment now = beast_moment_now();

    start(RECORDS);
    beast_miss nowhere = miss_of(ask, 0, now.now_ns), somewhere = miss_of(ask, 4242, now.now_ns - 5 * MS);
    CHECK_EQ(beast_engine_resume(f.engine, &nowhere, &now), BEAST_OK); /* the kernel sends nothing to port 0 */
    CHECK_EQ(count(BEAST_COUNTER_udp_send_errors), 1);
    CHECK_EQ(count(BEAST_COUNTER_usage_records), 0);
    CHECK_EQ(take(2), 0);
    CHECK_EQ(allowance(), CAP);
    CHECK_EQ(beast_engine_resume(f.engine, &somewhere, &now), BEAST_OK);
    CHECK_EQ(take(2), 1);
    check_run(1, 1);
    CHECK_EQ(records[0].protocol, BEAST_PROTOCOL_UDP); /* by whatever lane */
    CHECK(records[0].latency_ns >= 5 * MS);            /* since it came */
    CHECK_EQ(allowance(), CAP - 1);
    finish();
}

static void records_taken_back_leave_no_gap(void)
{
    beast_usage_ring *ring = beast_usage_ring_new(8);
    for (uint64_t i = 1; i <= 6; i++)
        beast_usage_claim(ring)->key_id = i;
    beast_usage_received(ring, 1000);
    beast_usage_sent(ring, 1, 1500);
    beast_usage_drop(ring, 2); /* the 2nd and 3rd never were */
    CHECK_EQ(beast_usage_unsent(ring), 3);
    beast_usage_sent(ring, 3, 900);
    CHECK_EQ(beast_usage_unsent(ring), 0);
    beast_usage_lose(ring);
    CHECK_EQ(beast_usage_claim(ring)->sequence, 6);
    CHECK_EQ(beast_usage_take(ring, records, 8), 4);
    static const uint64_t keys[] = {1, 4, 5, 6};
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(records[i].key_id, keys[i]);
        CHECK_EQ(records[i].sequence, i + 1);
        CHECK_EQ(records[i].latency_ns, i == 0 ? 500 : 0); /* a clock that went back measures nothing */
    }
    beast_usage_ring_free(ring);
}

int main(void)
{
    RUN(records_taken_back_leave_no_gap);
    RUN(a_refused_datagram_costs_nothing);
    RUN(a_slow_reader_pays_for_what_he_was_sent);
    RUN(answers_that_die_with_their_connection_cost_nothing);
    RUN(a_full_ring_loses_by_count);
    return harness_report();
}
