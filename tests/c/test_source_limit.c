/* The limit of unproven requests: per address, per prefix, over time. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#include "harness.h"
#include "source_limit.h"

#define SECOND INT64_C(1000000000)
#define START (1000 * SECOND)

static bool allow(beast_source_limit *limit, const char *address, int64_t now_ns)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return beast_source_allow(limit, (struct sockaddr *)&v4, now_ns);
    CHECK_EQ(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return beast_source_allow(limit, (struct sockaddr *)&v6, now_ns);
}

static int allowed_of(beast_source_limit *limit, const char *address, int n, int64_t now_ns)
{
    int allowed = 0;
    for (int i = 0; i < n; i++)
        allowed += allow(limit, address, now_ns);
    return allowed;
}

static void one_address_has_a_second_of_burst_and_then_its_rate(void)
{
    for (uint32_t rate = 1; rate <= 60; rate++) {
        beast_source_limit *limit = beast_source_limit_new(rate);
        CHECK_EQ(allowed_of(limit, "192.0.2.1", 200, START), rate);
        CHECK_EQ(allowed_of(limit, "192.0.2.1", 200, START + SECOND / 2 + rate), rate / 2);
        CHECK_EQ(allowed_of(limit, "198.51.100.1", 200, START), rate);
        CHECK_EQ(allowed_of(limit, "192.0.2.1", 200, START + 60 * SECOND), rate);
        beast_source_limit_free(limit);
    }
}

/* Sends from as many addresses as `format` makes, each within its own limit. */
static int allowed_of_many(beast_source_limit *limit, const char *format, int addresses, int each)
{
    int allowed = 0;
    for (int i = 0; i < addresses; i++) {
        char address[64];
        snprintf(address, sizeof address, format, i / 256, i % 256);
        allowed += allowed_of(limit, address, each, START);
    }
    return allowed;
}

static void prefixes_have_their_multiples(void)
{
    static const struct {
        const char *format; /* of the upper and the lower byte of a count */
        int addresses, each, times;
    } known[] = {
        {"192.0.%d.%d", 256, 10, 32},         /* one /24 */
        {"192.0.%d.%d", 16 * 256, 10, 256},   /* one /20 */
        {"192.0.%d.%d", 64 * 256, 10, 768},   /* one /18 */
        {"2001:db8::%x:%x", 100, 10, 2},      /* one /64 */
        {"2001:db8:0:%x%02x::1", 100, 10, 3}, /* one /56 */
        {"2001:db8:0:%x:%x::1", 100, 10, 2},  /* one /64 */
        {"::ffff:192.0.%d.%d", 256, 10, 32},  /* IPv4 inside IPv6 */
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        beast_source_limit *limit = beast_source_limit_new(10);
        int allowed = allowed_of_many(limit, known[i].format, known[i].addresses, known[i].each);
        CHECK_EQ(allowed, 10 * known[i].times);
        beast_source_limit_free(limit);
    }
}

static void wide_ipv6_prefixes_have_their_multiples(void)
{
    beast_source_limit *limit = beast_source_limit_new(10);
    int allowed_48 = 0, allowed_32 = 0;
    for (int i = 0; i < 256; i++) {
        char address[64];
        snprintf(address, sizeof address, "2001:db8:1:%x00::1", i);
        allowed_48 += allowed_of(limit, address, 10, START);
        snprintf(address, sizeof address, "2001:db9:%x::1", i);
        allowed_32 += allowed_of(limit, address, 10, START);
    }
    CHECK_EQ(allowed_48, 40);
    CHECK_EQ(allowed_32, 640);
    beast_source_limit_free(limit);
}

static void a_refusal_takes_nothing_from_the_wider_prefixes(void)
{
    beast_source_limit *limit = beast_source_limit_new(10);
    CHECK_EQ(allowed_of(limit, "192.0.2.1", 100000, START), 10);
    int others = 0;
    for (int i = 2; i < 250; i++) {
        char address[32];
        snprintf(address, sizeof address, "192.0.2.%d", i);
        others += allowed_of(limit, address, 10, START);
    }
    CHECK_EQ(others, 320 - 10);
    beast_source_limit_free(limit);
}

static void mapped_addresses_count_as_ipv4(void)
{
    beast_source_limit *limit = beast_source_limit_new(10);
    CHECK_EQ(allowed_of(limit, "192.0.2.1", 6, START), 6);
    CHECK_EQ(allowed_of(limit, "::ffff:192.0.2.1", 100, START), 4);
    beast_source_limit_free(limit);
}

static void zero_is_no_limit_and_unknown_families_get_nothing(void)
{
    beast_source_limit *limit = beast_source_limit_new(0);
    CHECK_EQ(allowed_of(limit, "192.0.2.1", 1000, START), 1000);
    beast_source_limit_set(limit, 5);
    CHECK_EQ(allowed_of(limit, "192.0.2.1", 1000, START), 5);
    struct sockaddr unknown = {.sa_family = AF_UNIX};
    CHECK(!beast_source_allow(limit, &unknown, START));
    beast_source_limit_free(limit);
}

static void a_flood_of_sources_does_not_free_a_busy_one(void)
{
    beast_source_limit *limit = beast_source_limit_new(50);
    CHECK_EQ(allowed_of(limit, "203.0.113.7", 1000, START), 50);
    for (int i = 0; i < 20000; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.%d.%d.1", i / 250, i % 250);
        allow(limit, address, START);
    }
    CHECK_EQ(allowed_of(limit, "203.0.113.7", 1000, START), 0);
    beast_source_limit_free(limit);
}

typedef struct flood {
    beast_source_limit *limit;
    int allowed;
} flood;

static void *run_flood(void *argument)
{
    flood *flood = argument;
    for (int64_t tick = 0; tick < 20000; tick++)
        flood->allowed += allow(flood->limit, "192.0.2.1", START + tick * SECOND / 10000);
    return NULL;
}

static void threads_share_one_limit(void)
{
    flood floods[3];
    pthread_t threads[3];
    beast_source_limit *limit = beast_source_limit_new(100);
    for (int i = 0; i < 3; i++) {
        floods[i] = (flood){limit, 0};
        pthread_create(&threads[i], NULL, run_flood, &floods[i]);
    }
    int allowed = 0;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        allowed += floods[i].allowed;
    }
    CHECK(allowed <= 300 + 1); /* two seconds at the rate, and the burst */
    CHECK(allowed >= 290);
    beast_source_limit_free(limit);
}

int main(void)
{
    RUN(one_address_has_a_second_of_burst_and_then_its_rate);
    RUN(prefixes_have_their_multiples);
    RUN(wide_ipv6_prefixes_have_their_multiples);
    RUN(a_refusal_takes_nothing_from_the_wider_prefixes);
    RUN(mapped_addresses_count_as_ipv4);
    RUN(zero_is_no_limit_and_unknown_families_get_nothing);
    RUN(a_flood_of_sources_does_not_free_a_busy_one);
    RUN(threads_share_one_limit);
    return harness_report();
}
