/* Serving allocates nothing: this program's own malloc counts while requests of every kind are answered. */
#include "engine_fixture.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int main(void)
{
    return 0; /* the sanitizers bring a malloc of their own */
}
#else

static _Atomic uint64_t allocations;

/* glibc's own, below the names that a program may replace. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, size);
}

static int open_client(int type, int port)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, type, 0);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(connect(fd, (struct sockaddr *)&server, sizeof server), 0);
    return fd;
}

/* Sends one request and waits for (the first part of) its answer. */
static void ask(int fd, const char *request)
{
    char answer[4096];
    CHECK_EQ(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    CHECK(recv(fd, answer, sizeof answer, 0) > 0);
}

static void ask_everything(int udp, int http)
{
    ask(udp, "{\"api_key\":\"tb_k\",\"asset\":\"BTC\",\"id\":7}");
    ask(udp, "{\"api_key\":\"tb_k\",\"asset\":\"b\\u0074c\",\"exchange\":\"KRAKEN\"}");
    ask(udp, "{\"api_key\":\"tb_k\",\"assets\":[\"BTC\",\"ETH\",\"NONE\"]}");
    ask(udp, "{\"api_key\":\"tb_k\",\"asset\":\"NONE\"}");
    ask(udp, "{\"api_key\":\"tb_nobody\",\"asset\":\"BTC\",\"pad\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}");
    ask(udp, "{\"asset\":12345, and then nothing that is JSON at all, but long enough}");
    ask(http, "GET /price?asset=BTC HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n");
    ask(http, "GET /prices?assets=BTC,ETH HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n");
    ask(http, "GET /price?asset=BTC HTTP/1.1\r\nHost: h\r\nX-API-Key: nobody\r\n\r\n");
}

static void serving_allocates_nothing(void)
{
    static fixture f;
    const char *where = "";
    beast_engine_config config = fixture_config();
    config.http_port = 0;
    config.source_per_second = 0;
    fixture_open(&f, &config);
    fixture_publish(&f, BTC_COINBASE, "83421.57", harness_now_ns());
    fixture_publish(&f, ETH_KRAKEN, "1801.5", harness_now_ns());
    CHECK_EQ(beast_engine_start(f.engine, &where), BEAST_OK);
    int udp = open_client(SOCK_DGRAM, beast_engine_udp_port(f.engine));
    int http = open_client(SOCK_STREAM, beast_engine_http_port(f.engine));
    ask_everything(udp, http);
    uint64_t before = atomic_load(&allocations);
    CHECK(before > 0);
    for (int i = 0; i < 500; i++)
        ask_everything(udp, http);
    CHECK_EQ(atomic_load(&allocations), before);
    close(udp);
    close(http);
    CHECK_EQ(beast_engine_stop(f.engine, 5 * SECOND), BEAST_OK);
    CHECK_EQ(fixture_counter(&f, BEAST_COUNTER_udp_packets_received), 501 * 6);
    fixture_close(&f);
}

int main(void)
{
    RUN(serving_allocates_nothing);
    return harness_report();
}
#endif
