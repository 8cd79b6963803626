/* The HTTP lane over real sockets: what is answered, in which order, and what is handed over. */
#include "http_client.h"

static const beast_http_config patient = {.max_connections = 64, .head_ns = 60000 * MS, .idle_ns = 60000 * MS,
                                          .send_ns = 60000 * MS};

static void answers_one_price(void)
{
    char answer[4096];
    client *c = connect_client();
    send_text(c, BTC);
    CHECK_EQ(read_answer(c, answer, sizeof answer), 200);
    CHECK(strncmp(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ", 65) == 0);
    CHECK(strstr(answer, "\r\nCache-Control: no-store\r\nDate: ") != NULL);
    CHECK(strstr(answer, " GMT\r\n\r\n{\"asset\":\"BTC\",\"price\":83421.57,\"currency\":\"USD\"") != NULL);
    CHECK(strstr(answer, "\"node\":\"Test\"}") == answer + strlen(answer) - 14);
    CHECK(!strstr(answer, "Connection:"));
    close_client(c);
}

static void answers_errors(void)
{
    char answer[4096];
    client *c = connect_client();
    send_text(c, TARGET("/price?asset=BTC") "\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 401);
    CHECK(strstr(answer, "\r\nWWW-Authenticate: Bearer\r\n") && strstr(answer, "{\"error\":\"unauthorized\""));
    send_text(c, TARGET("/price?asset=") "\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 400);
    CHECK(strstr(answer, "\"message\":\"asset must be a string that is not empty\"}") != NULL);
    send_text(c, TARGET("/price?asset=NONE") "X-API-Key: partner\r\n\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 404);
    send_text(c, TARGET("/price?asset=BTC&exchange=no") "X-API-Key: partner\r\n\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 404);
    send_text(c, TARGET("/price?asset=BTC&max_age_ms=0") "X-API-Key: partner\r\n\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 503);
    for (int i = 0; i < 2; i++) {
        send_text(c, TARGET("/price?asset=BTC") "X-API-Key: slow\r\n\r\n");
        CHECK_EQ(read_answer(c, answer, sizeof answer), 200);
    }
    send_text(c, TARGET("/price?asset=BTC") "X-API-Key: slow\r\n\r\n");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 429);
    CHECK(strstr(answer,
        "\r\nRetry-After: 1\r\nRateLimit-Limit: 2\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 1\r\n") != NULL);
    close_client(c);
}

static void answers_several_prices(void)
{
    char answer[4096];
    client *c = connect_client();
    send_text(c, TARGET("/prices?assets=BTC,none,ETH,btc") "X-API-Key: partner\r\n\r\n" BTC);
    CHECK_EQ(read_answer(c, answer, sizeof answer), 200);
    CHECK(strstr(answer, "{\"prices\":[{\"asset\":\"BTC\",") != NULL);
    CHECK(strstr(answer, "},{\"asset\":\"NONE\",\"error\":\"unknown_asset\",") != NULL);
    CHECK(strstr(answer, "},{\"asset\":\"ETH\",") != NULL);
    CHECK(strcmp(answer + strlen(answer) - 3, "}]}") == 0);
    CHECK_PRICE(c, "BTC");
    close_client(c);
}

/* Long bodies move the head's length, close adds to it: the bytes around must stay in place. */
static void joins_answers_of_all_lengths(void)
{
    char request[1024], answer[16384];
    client *c = connect_client();
    for (int assets = 1; assets <= BEAST_ASSETS_MAX; assets++) {
        int len = snprintf(request, sizeof request, BTC "GET /prices?assets=BTC");
        for (int i = 1; i < assets; i++)
            len += snprintf(request + len, sizeof request - (size_t)len, ",X%d", i);
        snprintf(request + len, sizeof request - (size_t)len, " HTTP/1.1\r\nHost: a\r\nX-API-Key: partner\r\n\r\n" ETH);
        send_text(c, request);
        CHECK_PRICE(c, "BTC");
        CHECK_EQ(read_answer(c, answer, sizeof answer), 200);
        CHECK(strcmp(answer + strlen(answer) - 3, "}]}") == 0);
        CHECK_PRICE(c, "ETH");
    }
    close_client(c);
}

static void joins_what_was_split(void)
{
    static const char both[] = BTC ETH;
    client *c = connect_client();
    for (size_t at = 1; at < sizeof both - 1; at++) {
        send_bytes(c, both, at);
        usleep(at % 8 ? 50 : 500);
        send_bytes(c, both + at, sizeof both - 1 - at);
        CHECK_PRICE(c, "BTC");
        CHECK_PRICE(c, "ETH");
    }
    for (size_t at = 0; at < sizeof both - 1; at++) {
        send_bytes(c, both + at, 1);
        usleep(30);
    }
    CHECK_PRICE(c, "BTC");
    CHECK_PRICE(c, "ETH");
    close_client(c);
}

static void answers_pipelines_in_order(void)
{
    enum { PAIRS = 150 }; /* more than one read brings */
    static char text[PAIRS * sizeof(BTC ETH)];
    client *c = connect_client();
    for (int i = 0; i < PAIRS; i++)
        strcpy(text + (size_t)i * (sizeof(BTC ETH) - 1), BTC ETH);
    for (int round = 0; round < 3; round++) {
        send_text(c, text);
        for (int i = 0; i < PAIRS; i++) {
            CHECK_PRICE(c, "BTC");
            CHECK_PRICE(c, "ETH");
        }
    }
    CHECK_EQ(c->len, 0);
    close_client(c);
}

static void closes_when_asked(void)
{
    char answer[4096];
    client *c = connect_client();
    send_text(c, BTC TARGET("/price?asset=BTC") "X-API-Key: partner\r\nConnection: close\r\n\r\n" BTC);
    CHECK_PRICE(c, "BTC");
    CHECK_EQ(read_answer(c, answer, sizeof answer), 200);
    CHECK(strstr(answer, "\r\nConnection: close\r\n\r\n{") != NULL);
    CHECK(is_closed(c));
    close_client(c);
}

static void answers_who_will_not_send_more(void)
{
    client *c = connect_client();
    send_text(c, BTC ETH "GET /pri");
    shutdown(c->fd, SHUT_WR);
    CHECK_PRICE(c, "BTC");
    CHECK_PRICE(c, "ETH");
    CHECK(is_closed(c));
    close_client(c);
    c = connect_client();
    shutdown(c->fd, SHUT_WR);
    CHECK(is_closed(c));
    close_client(c);
}

/* The taker gets the bytes that nobody answered, all and only those, and a socket that still works. */
static void check_handover(const char *before, int answers, const char *unread)
{
    beast_handover taken = {.fd = -1};
    char text[8192], echo[4] = "";
    client *c = connect_client();
    snprintf(text, sizeof text, "%s%s", before, unread);
    send_text(c, text);
    for (int i = 0; i < answers; i++)
        CHECK_PRICE(c, "BTC");
    EVENTUALLY(take_handover(&taken) || taken.fd >= 0);
    CHECK_TEXT(taken.bytes, taken.len, unread);
    send_text(c, "more");
    struct pollfd readable = {.fd = taken.fd, .events = POLLIN};
    CHECK_EQ(poll(&readable, 1, 2000), 1);
    CHECK_EQ(recv(taken.fd, echo, sizeof echo, 0), 4);
    CHECK_TEXT(echo, 4, "more");
    CHECK_EQ(send(taken.fd, "fine", 4, 0), 4);
    CHECK(read_more(c));
    CHECK_TEXT(c->bytes, c->len, "fine");
    close(taken.fd);
    free(taken.bytes);
    CHECK_EQ((c->len = 0, is_closed(c)), true);
    close_client(c);
}

static void hands_over_what_is_not_hot(void)
{
    check_handover("", 0, TARGET("/exchanges") "\r\n");
    check_handover("", 0, "P");
    check_handover(BTC, 1, TARGET("/exchanges") "\r\n");
    check_handover(BTC BTC, 2,
        "POST /prices HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n{\"assets\":[\"BTC\"]}" BTC);
    check_handover(BTC, 1, TARGET("/price?asset=BTC") "Content-Length: 5\r\n\r\n" BTC);
    CHECK_EQ(counter(BEAST_COUNTER_http_handed_over), 5);
}

static void hands_over_a_split_request(void)
{
    beast_handover taken = {.fd = -1};
    static const char head[] = TARGET("/price?asset=BTC"), rest[] = "Upgrade: websocket\r\n\r\nx";
    client *c = connect_client();
    send_text(c, head);
    usleep(20000);
    send_text(c, rest);
    EVENTUALLY(take_handover(&taken) || taken.fd >= 0);
    CHECK_EQ(taken.len, sizeof head - 1 + sizeof rest - 1);
    CHECK(taken.bytes && memcmp(taken.bytes, head, sizeof head - 1) == 0 &&
          memcmp(taken.bytes + sizeof head - 1, rest, sizeof rest - 1) == 0);
    close(taken.fd);
    free(taken.bytes);
    close_client(c);
}

/* With slower tiers, what memory can't answer is the ASGI side's, uncounted here. */
static void hands_over_misses(void)
{
    uint64_t before = counter(BEAST_COUNTER_tcp_requests);
    beast_shared_set_parking(beast_engine_shared(engine), true, 1000 * MS);
    check_handover(BTC, 1, TARGET("/price?asset=BTC&max_age_ms=0") "X-API-Key: partner\r\n\r\n" BTC);
    beast_shared_set_parking(beast_engine_shared(engine), false, 0);
    EVENTUALLY(counter(BEAST_COUNTER_tcp_requests) == before + 1);
}

static void wakes_the_taker(void)
{
    uint64_t count = 0;
    CHECK_EQ(read(beast_engine_shared(engine)->wake_fd, &count, sizeof count), sizeof count);
    CHECK_EQ(count, counter(BEAST_COUNTER_http_handed_over));
}

/* Every turn that answers counts once, however many requests it brought; one that hands over does not. */
static uint64_t timed(void)
{
    uint64_t sum[BEAST_HISTOGRAM_BUCKETS] = {0}, all = 0;
    beast_histogram_sum(&beast_engine_lane(engine, 1)->latency, sum);
    for (int i = 0; i < BEAST_HISTOGRAM_BUCKETS; i++)
        all += sum[i];
    return all;
}

static void times_what_it_answers(void)
{
    uint64_t before = timed();
    CHECK(before > 0);
    client *c = connect_client();
    send_text(c, BTC ETH BTC);
    CHECK_PRICE(c, "BTC");
    CHECK_PRICE(c, "ETH");
    CHECK_PRICE(c, "BTC");
    close_client(c);
    EVENTUALLY(timed() == before + 1);
    check_handover("", 0, TARGET("/health") "\r\n");
    CHECK_EQ(timed(), before + 1);
}

int main(void)
{
    start_server(&patient);
    RUN(answers_one_price);
    RUN(answers_errors);
    RUN(answers_several_prices);
    RUN(joins_answers_of_all_lengths);
    RUN(joins_what_was_split);
    RUN(answers_pipelines_in_order);
    RUN(closes_when_asked);
    RUN(answers_who_will_not_send_more);
    RUN(hands_over_what_is_not_hot);
    RUN(hands_over_a_split_request);
    RUN(hands_over_misses);
    RUN(times_what_it_answers);
    RUN(wakes_the_taker);
    stop_server(2000 * MS);
    return harness_report();
}
