/* How many connections each source has: exact for one, whoever counts; sources don't stand in each other's way. */
#include <arpa/inet.h>
#include <pthread.h>

#include "harness.h"
#include "http_sources.h"

static uint32_t last;

static bool enter(beast_http_sources *sources, const char *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return beast_http_sources_enter(sources, (struct sockaddr *)&v4, &last);
    CHECK_EQ(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return beast_http_sources_enter(sources, (struct sockaddr *)&v6, &last);
}

static int entered_of(beast_http_sources *sources, const char *address, int n)
{
    int entered = 0;
    for (int i = 0; i < n; i++)
        entered += enter(sources, address);
    return entered;
}

static void one_source_has_its_limit_and_no_more(void)
{
    beast_http_sources *sources = beast_http_sources_new(8);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 20), 8);
    beast_http_sources_leave(sources, last);
    beast_http_sources_leave(sources, last);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 20), 2);
    CHECK_EQ(entered_of(sources, "192.0.2.2", 20), 8);
    beast_http_sources_free(sources);
}

static void the_limit_may_change_and_be_none(void)
{
    beast_http_sources *sources = beast_http_sources_new(2);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 5), 2);
    beast_http_sources_set(sources, 4);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 5), 2);
    beast_http_sources_set(sources, 0);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 50), 50);
    beast_http_sources_set(sources, 54);
    CHECK_EQ(entered_of(sources, "192.0.2.1", 5), 0);
    beast_http_sources_free(sources);
}

static void a_source_is_an_address_or_a_64(void)
{
    beast_http_sources *sources = beast_http_sources_new(1);
    CHECK(enter(sources, "2001:db8:1:2::1"));
    CHECK(!enter(sources, "2001:db8:1:2:ffff::1"));
    CHECK(enter(sources, "2001:db8:1:3::1"));
    CHECK(enter(sources, "192.0.2.1"));
    CHECK(!enter(sources, "::ffff:192.0.2.1"));
    CHECK(enter(sources, "::ffff:192.0.2.2"));
    CHECK(!enter(sources, "192.0.2.2"));
    beast_http_sources_free(sources);
}

/* With ten thousand clients connected, a hundred of them up to the limit, hardly anybody new is refused. */
static void strangers_hardly_matter(void)
{
    enum { LIMIT = 256, HEAVY = 100, LIGHT = 10000 };
    char address[32];
    int refused = 0;
    beast_http_sources *sources = beast_http_sources_new(LIMIT);
    for (int i = 0; i < HEAVY; i++) {
        snprintf(address, sizeof address, "10.0.0.%d", i);
        CHECK(entered_of(sources, address, 2 * LIMIT) >= LIMIT - 50);
    }
    for (int i = 0; i < LIGHT; i++) {
        snprintf(address, sizeof address, "10.1.%d.%d", i / 250, i % 250);
        refused += !enter(sources, address);
    }
    CHECK(refused <= LIGHT / 100);
    beast_http_sources_free(sources);
}

static void *come_and_go(void *argument)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint32_t source;
    for (int i = 0; i < 20000; i++)
        if (beast_http_sources_enter(argument, (struct sockaddr *)&peer, &source))
            beast_http_sources_leave(argument, source);
    return NULL;
}

static void lanes_count_together(void)
{
    enum { THREADS = 4, LIMIT = 3 };
    pthread_t thread[THREADS];
    beast_http_sources *sources = beast_http_sources_new(LIMIT);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, come_and_go, sources);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    CHECK_EQ(entered_of(sources, "127.0.0.1", 10), LIMIT);
    beast_http_sources_free(sources);
}

int main(void)
{
    RUN(one_source_has_its_limit_and_no_more);
    RUN(the_limit_may_change_and_be_none);
    RUN(a_source_is_an_address_or_a_64);
    RUN(strangers_hardly_matter);
    RUN(lanes_count_together);
    return harness_report();
}
