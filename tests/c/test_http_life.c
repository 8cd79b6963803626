/* The HTTP lane's connections: how long they live, how they end, and what they may cost. */
#include <fcntl.h>
#include <sys/resource.h>

#include "http_client.h"

static const beast_http_config patient = {.max_connections = 64, .head_ns = 60000 * MS, .idle_ns = 60000 * MS,
                                          .send_ns = 60000 * MS};
static const beast_http_config hasty = {.max_connections = 64, .head_ns = 150 * MS, .idle_ns = 400 * MS,
                                        .send_ns = 150 * MS};

/* Waits for the end of a connection and tells how long it took. */
static int64_t ends_after_ms(client *c)
{
    int64_t start = harness_now_ns();
    CHECK(is_closed(c));
    return (harness_now_ns() - start) / MS;
}

static void closes_slow_heads(void)
{
    start_server(&hasty);
    client *c = connect_client();
    send_text(c, BTC "GET /price?asset=");
    CHECK_PRICE(c, "BTC");
    /* A byte now and then doesn't help. */
    usleep(70000);
    send_text(c, "B");
    int64_t took = ends_after_ms(c);
    CHECK(took >= 20 && took < 300);
    CHECK_EQ(counter(BEAST_COUNTER_http_timed_out), 1);
    close_client(c);
    stop_server(2000 * MS);
}

static void closes_idle_connections(void)
{
    start_server(&hasty);
    client *silent = connect_client(), *talking = connect_client();
    for (int i = 0; i < 5; i++) {
        usleep(120000);
        send_text(talking, BTC);
        CHECK_PRICE(talking, "BTC");
    }
    CHECK(is_closed(silent)); /* long since */
    CHECK_EQ(counter(BEAST_COUNTER_http_timed_out), 1);
    int64_t took = ends_after_ms(talking);
    CHECK(took >= 300 && took < 700);
    close_client(silent);
    close_client(talking);
    stop_server(2000 * MS);
}

/* Sends requests, BTC and ETH by turns, until the server has stopped reading; returns how many were sent whole. */
static int fill(client *c)
{
    static const char pair[] = BTC ETH;
    size_t sent = 0, len = sizeof pair - 1;
    int quiet = 0;
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    while (quiet < 20) {
        ssize_t n = send(c->fd, pair + sent % len, len - sent % len, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            quiet = 0;
        } else {
            quiet++;
            usleep(2000);
        }
    }
    fcntl(c->fd, F_SETFL, 0);
    return (int)(sent / len);
}

static client *connect_slow_reader(void)
{
    client *c = calloc(1, sizeof *c);
    c->fd = open_socket(8192);
    connect_socket(c->fd);
    return c;
}

static void waits_for_slow_readers(void)
{
    start_server(&patient);
    client *c = connect_slow_reader();
    int pairs = fill(c);
    CHECK(pairs > 1000);
    for (int i = 0; i < pairs; i++) {
        CHECK_PRICE(c, "BTC");
        CHECK_PRICE(c, "ETH");
    }
    close_client(c);
    stop_server(2000 * MS);
}

static void closes_who_never_reads(void)
{
    start_server(&hasty);
    client *c = connect_slow_reader();
    fill(c);
    EVENTUALLY(counter(BEAST_COUNTER_http_timed_out) == 1);
    EVENTUALLY(counter(BEAST_COUNTER_http_closed) == 1);
    close_client(c);
    stop_server(2000 * MS);
}

/* What has to be handed over waits until the answers before it are sent. */
static void hands_over_behind_a_slow_reader(void)
{
    enum { PAIRS = 30000 };
    static char text[PAIRS * (sizeof(BTC ETH) - 1) + sizeof(TARGET("/other") "\r\n")];
    beast_handover taken = {.fd = -1};
    start_server(&patient);
    client *c = connect_slow_reader();
    for (int i = 0; i < PAIRS; i++)
        memcpy(text + (size_t)i * (sizeof(BTC ETH) - 1), BTC ETH, sizeof(BTC ETH));
    strcpy(text + (size_t)PAIRS * (sizeof(BTC ETH) - 1), TARGET("/other") "\r\n");
    size_t len = strlen(text), sent = 0;
    int answers = 0;
    while (answers < 2 * PAIRS) {
        ssize_t n = sent < len ? send(c->fd, text + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        sent += n > 0 ? (size_t)n : 0;
        for (int i = 0; i < 40 && answers < 2 * PAIRS; i++, answers++) {
            if (i && !memmem(c->bytes, c->len, "\"}HTTP", 6))
                break; /* not to wait for answers to what isn't sent yet */
            check_price(__LINE__, c, answers % 2 ? "ETH" : "BTC");
        }
    }
    CHECK_EQ(sent, len);
    EVENTUALLY(take_handover(&taken) || taken.fd >= 0);
    CHECK_TEXT(taken.bytes, taken.len, TARGET("/other") "\r\n");
    close(taken.fd);
    free(taken.bytes);
    close_client(c);
    stop_server(2000 * MS);
}

static void refuses_one_too_many(void)
{
    beast_http_config few = patient;
    few.max_connections = 3;
    start_server(&few);
    client *c[4];
    for (int i = 0; i < 3; i++) {
        c[i] = connect_client();
        send_text(c[i], BTC);
        CHECK_PRICE(c[i], "BTC");
    }
    c[3] = connect_client();
    CHECK(is_closed(c[3]));
    CHECK_EQ(counter(BEAST_COUNTER_http_overloaded), 1);
    close_client(c[3]);
    close_client(c[0]);
    EVENTUALLY(counter(BEAST_COUNTER_http_closed) == 1);
    c[0] = connect_client();
    for (int i = 0; i < 3; i++) {
        send_text(c[i], ETH);
        CHECK_PRICE(c[i], "ETH");
        close_client(c[i]);
    }
    stop_server(2000 * MS);
}

/* One source has enough connections; others, and those that it has, are served on. A connection that was handed over
 * is the taker's to count. */
static void refuses_too_many_of_one_source(void)
{
    beast_handover taken = {.fd = -1};
    start_server(&patient);
    beast_http_sources_set(beast_engine_http_sources(engine), 2);
    client *c[4] = {connect_client(), connect_client(), connect_client(), calloc(1, sizeof(client))};
    CHECK(is_closed(c[2]));
    CHECK_EQ(counter(BEAST_COUNTER_http_source_limited), 1);
    struct sockaddr_in other = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    c[3]->fd = open_socket(0);
    CHECK_EQ(bind(c[3]->fd, (struct sockaddr *)&other, sizeof other), 0);
    connect_socket(c[3]->fd);
    for (int i = 0; i < 4; i++)
        if (i != 2) {
            send_text(c[i], BTC);
            CHECK_PRICE(c[i], "BTC");
        }
    send_text(c[0], TARGET("/other") "\r\n");
    EVENTUALLY(take_handover(&taken) || taken.fd >= 0);
    close_client(c[1]);
    EVENTUALLY(counter(BEAST_COUNTER_http_closed) == 1);
    close_client(c[2]);
    for (int i = 1; i < 3; i++) {
        c[i] = connect_client();
        send_text(c[i], ETH);
        CHECK_PRICE(c[i], "ETH");
    }
    for (int i = 0; i < 4; i++)
        close_client(c[i]);
    close(taken.fd);
    free(taken.bytes);
    stop_server(2000 * MS);
}

/* No descriptors left: counted, not spun upon, and over when there are some again. */
static void survives_without_descriptors(void)
{
    struct rlimit limit, none;
    start_server(&patient);
    client *c = calloc(1, sizeof *c);
    c->fd = open_socket(0);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = (rlim_t)c->fd + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    connect_socket(c->fd);
    usleep(350000);
    uint64_t refused = counter(BEAST_COUNTER_http_overloaded);
    CHECK(refused >= 1 && refused <= 5);
    setrlimit(RLIMIT_NOFILE, &limit);
    send_text(c, BTC);
    CHECK_PRICE(c, "BTC");
    close_client(c);
    stop_server(2000 * MS);
}

/* Draining: what was sent before is answered, the last answer says close, idle connections end at once. */
static void drains(void)
{
    char answer[4096];
    start_server(&patient);
    client *idle = connect_client(), *used = connect_client(), *asking[8];
    send_text(used, BTC);
    CHECK_PRICE(used, "BTC");
    for (int i = 0; i < 8; i++) {
        asking[i] = connect_client();
        send_text(asking[i], BTC ETH);
    }
    int64_t start = harness_now_ns();
    CHECK_EQ(beast_engine_stop(engine, 5000 * MS), BEAST_OK);
    CHECK((harness_now_ns() - start) / MS < 1000);
    for (int i = 0; i < 8; i++) {
        CHECK_PRICE(asking[i], "BTC");
        CHECK_EQ(read_answer(asking[i], answer, sizeof answer), 200);
        CHECK(is_closed(asking[i]));
        close_client(asking[i]);
    }
    CHECK(is_closed(idle) && is_closed(used));
    close_client(idle);
    close_client(used);
    CHECK_EQ(counter(BEAST_COUNTER_http_accepted), 10);
    CHECK_EQ(counter(BEAST_COUNTER_http_closed), 10);
    CHECK_EQ(counter(BEAST_COUNTER_usage_records), 17);
    beast_engine_free(engine);
}

/* A request that began before the stop may end; one that never does holds nothing up beyond the deadline. */
static void drains_until_the_deadline(void)
{
    start_server(&patient);
    client *c = connect_client();
    send_text(c, BTC "GET /price");
    CHECK_PRICE(c, "BTC");
    int64_t start = harness_now_ns();
    stop_server(400 * MS);
    int64_t took = (harness_now_ns() - start) / MS;
    CHECK(took >= 200 && took <= 400);
    CHECK(is_closed(c));
    close_client(c);
}

/* Unfinished heads share a bounded number of buffers: beyond it the oldest head gives way. */
static void makes_room_for_heads(void)
{
    enum { BUFFERS = 1024, MORE = 6 };
    static client *c[BUFFERS + MORE];
    struct rlimit limit;
    beast_http_config many = patient;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    many.max_connections = BUFFERS + 2 * MORE;
    start_server(&many);
    for (int i = 0; i < BUFFERS + MORE; i++) {
        c[i] = connect_client();
        send_text(c[i], TARGET("/price?asset=BTC"));
        if (i < MORE)
            usleep(10000); /* so that these are the oldest */
    }
    EVENTUALLY(counter(BEAST_COUNTER_http_overloaded) == MORE);
    EVENTUALLY(counter(BEAST_COUNTER_http_closed) == MORE);
    for (int i = 0; i < BUFFERS + MORE; i++) {
        if (i < MORE) {
            CHECK(is_closed(c[i]));
        } else {
            send_text(c[i], "X-API-Key: partner\r\n\r\n");
            CHECK_PRICE(c[i], "BTC");
        }
        close_client(c[i]);
    }
    stop_server(2000 * MS);
}

int main(void)
{
    RUN(closes_slow_heads);
    RUN(closes_idle_connections);
    RUN(waits_for_slow_readers);
    RUN(closes_who_never_reads);
    RUN(hands_over_behind_a_slow_reader);
    RUN(refuses_one_too_many);
    RUN(refuses_too_many_of_one_source);
    RUN(survives_without_descriptors);
    RUN(drains);
    RUN(drains_until_the_deadline);
    RUN(makes_room_for_heads);
    return harness_report();
}
