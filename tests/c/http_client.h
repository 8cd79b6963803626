/* A server with one HTTP lane on loopback, and a blocking client that reads answers one by one. */
#ifndef BEAST_HTTP_CLIENT_H
#define BEAST_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "harness.h"

#define MS INT64_C(1000000)
#define TARGET(target) "GET " target " HTTP/1.1\r\nHost: localhost\r\n"
#define BTC TARGET("/price?asset=BTC") "X-API-Key: partner\r\n\r\n"
#define ETH TARGET("/price?asset=eth") "Authorization: Bearer partner\r\n\r\n"

static beast_engine *engine;

static inline void put_key(const char *key, uint64_t id, uint32_t per_second, uint32_t burst, bool partner)
{
    uint8_t digest[32];
    beast_shared *shared = beast_engine_shared(engine);
    beast_sha256((const uint8_t *)key, strlen(key), digest);
    CHECK_EQ(beast_key_put(shared->keys, digest, id, per_second, burst, partner, INT64_MAX, &shared->readers),
             BEAST_OK);
}

static inline void put_price(uint32_t instrument, const char *price)
{
    int64_t received = harness_now_ns() - 5000 * MS;
    CHECK_EQ(beast_price_publish(beast_engine_shared(engine)->prices, instrument, (const uint8_t *)price,
                                 (uint32_t)strlen(price), INT64_C(1776003781123456000), received, received, 0, 1),
             BEAST_OK);
}

static inline void start_server(const beast_http_config *http)
{
    const char *where = "";
    beast_engine_config config = {.node = "Test", .workers = 1, .host = "127.0.0.1", .udp_port = -1, .http_port = 0,
                                  .udp_buffer = 1 << 16, .max_keys = 64, .max_instruments = 64, .usage_ring = 1 << 10,
                                  .miss_ring = 16, .source_per_second = 50, .ttl_ns = 600000 * MS, .latency_sample = 1, .http = *http};
    const beast_instrument instruments[] = {
        {.id = 0, .asset = "BTC", .exchange = "kraken", .currency = "USD"},
        {.id = 1, .asset = "ETH", .exchange = "kraken", .currency = "USD"},
    };
    engine = beast_engine_new(&config);
    CHECK(engine != NULL);
    beast_shared *shared = beast_engine_shared(engine);
    CHECK_EQ(beast_price_table_load(shared->prices, instruments, 2, &shared->readers), BEAST_OK);
    put_price(0, "83421.57");
    put_price(1, "1801.5");
    put_key("partner", 1, 0, 0, true);
    put_key("slow", 2, 1, 2, false);
    CHECK_EQ(beast_engine_start(engine, &where), BEAST_OK);
}

static inline uint64_t counter(beast_counter which)
{
    uint64_t sum[BEAST_COUNTER_COUNT] = {0};
    for (uint32_t i = 0; i < beast_engine_lanes(engine); i++)
        beast_counters_add(&beast_engine_lane(engine, i)->counters, sum);
    return sum[which];
}

/* Nothing accepted may be lost from the books. */
static inline void stop_server(int64_t timeout_ns)
{
    CHECK_EQ(beast_engine_stop(engine, timeout_ns), BEAST_OK);
    CHECK_EQ(counter(BEAST_COUNTER_http_accepted),
             counter(BEAST_COUNTER_http_closed) + counter(BEAST_COUNTER_http_handed_over));
    CHECK_EQ(counter(BEAST_COUNTER_tcp_requests),
             counter(BEAST_COUNTER_http_answered) + counter(BEAST_COUNTER_http_refused));
    beast_engine_free(engine);
}

typedef struct client {
    int fd;
    size_t len;
    char bytes[1 << 16]; /* read and not yet looked at */
} client;

static inline int open_socket(int receive_buffer)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    return fd;
}

static inline void connect_socket(int fd)
{
    struct timeval patience = {.tv_sec = 5};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)beast_engine_http_port(engine)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
}

static inline client *connect_client(void)
{
    client *c = calloc(1, sizeof *c);
    c->fd = open_socket(0);
    connect_socket(c->fd);
    return c;
}

static inline void close_client(client *c)
{
    close(c->fd);
    free(c);
}

static inline void send_bytes(client *c, const char *bytes, size_t len)
{
    CHECK_EQ(send(c->fd, bytes, len, MSG_NOSIGNAL), len);
}

static inline void send_text(client *c, const char *text)
{
    send_bytes(c, text, strlen(text));
}

static inline bool read_more(client *c)
{
    ssize_t got = recv(c->fd, c->bytes + c->len, sizeof c->bytes - 1 - c->len, 0);
    if (got > 0)
        c->len += (size_t)got;
    c->bytes[c->len] = 0;
    return got > 0;
}

/* The end of the connection, and not one byte more before it. */
static inline bool is_closed(client *c)
{
    return c->len == 0 && recv(c->fd, c->bytes, 1, 0) <= 0 && errno != EAGAIN;
}

/* One whole answer, head and body; its status, or 0 when the connection ended before it. */
static inline int read_answer(client *c, char *answer, size_t room)
{
    char *end;
    while (!(end = c->len ? strstr(c->bytes, "\r\n\r\n") : NULL))
        if (!read_more(c))
            return 0;
    size_t head = (size_t)(end + 4 - c->bytes), whole = head;
    const char *length = strstr(c->bytes, "\r\nContent-Length: ");
    CHECK(length && length < end);
    whole += strtoul(length + 18, NULL, 10);
    while (c->len < whole)
        if (!read_more(c))
            return 0;
    size_t kept = whole < room - 1 ? whole : room - 1;
    memcpy(answer, c->bytes, kept);
    answer[kept] = 0;
    memmove(c->bytes, c->bytes + whole, c->len - whole + 1);
    c->len -= whole;
    return atoi(answer + 9);
}

static inline void check_price(int line, client *c, const char *asset)
{
    char answer[4096], want[64];
    int status = read_answer(c, answer, sizeof answer);
    snprintf(want, sizeof want, "\r\n\r\n{\"asset\":\"%s\",\"price\":", asset);
    if (status != 200 || !strstr(answer, want))
        harness_fail(__FILE__, line, status ? answer : "no answer");
}

#define CHECK_PRICE(c, asset) check_price(__LINE__, c, asset)

/* Waits up to two seconds for what another thread is to bring about. */
#define EVENTUALLY(condition)                                                                     \
    do {                                                                                          \
        for (int harness_wait = 0; !(condition) && harness_wait < 2000; harness_wait++)           \
            usleep(1000);                                                                         \
        CHECK(condition);                                                                         \
    } while (0)

static inline bool take_handover(beast_handover *out)
{
    for (uint32_t i = 0; i < beast_engine_lanes(engine); i++) {
        beast_handover_ring *ring = beast_engine_lane(engine, i)->handovers;
        if (ring && beast_handover_take(ring, out))
            return true;
    }
    return false;
}

#endif
