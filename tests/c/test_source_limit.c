/* The limit of unproven requests: per address, per prefix, over time. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#include "harness.h"
#include "source_limit.h"

#define SECOND INT64_C(1000000000)
#define START (1000 * SECOND)

/* A total that nothing has been taken from. */
#define unused ((beast_source_total){0})

static bool allow(beast_source_limit *limit, const char *address, int64_t now_ns)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return beast_source_ask(limit, &unused, (struct sockaddr *)&v4, now_ns) == BEAST_SOURCE_ALLOWED;
    CHECK_EQ(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return beast_source_ask(limit, &unused, (struct sockaddr *)&v6, now_ns) == BEAST_SOURCE_ALLOWED;
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
    CHECK_EQ(beast_source_ask(limit, &unused, &unknown, START), BEAST_SOURCE_LIMITED);
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

static beast_source_verdict ask_v4(beast_source_limit *limit, const char *address, bool *over)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    CHECK_EQ(inet_pton(AF_INET, address, &v4.sin_addr), 1);
    *over = beast_source_is_over(limit, (struct sockaddr *)&v4, START);
    return beast_source_ask(limit, &unused, (struct sockaddr *)&v4, START);
}

static void a_dry_run_tells_and_limits_nobody(void)
{
    beast_source_limit *limit = beast_source_limit_new(2);
    bool over;
    beast_source_limit_set_dry_run(limit, true);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), i < 2 ? BEAST_SOURCE_ALLOWED : BEAST_SOURCE_DRY_RUN);
        CHECK(!over);
    }
    beast_source_limit_set_dry_run(limit, false);
    CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), BEAST_SOURCE_LIMITED);
    beast_source_limit_free(limit);
}

static void all_sources_together_have_a_total(void)
{
    beast_source_limit *limit = beast_source_limit_new(50);
    const beast_source_network mine = {.address = {[10] = 0xff, 0xff, 198, 51, 100, 0}, .bits = 120};
    beast_source_total total = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    int allowed = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        v4.sin_addr.s_addr = htonl(0x0a000000 + i * 256 * 64); /* each of a /18 of its own */
        int64_t now_ns = START + (i < 10000 ? 0 : SECOND / 2);
        allowed += beast_source_ask(limit, &total, (struct sockaddr *)&v4, now_ns) == BEAST_SOURCE_ALLOWED;
    }
    CHECK_EQ(allowed, 2 * BEAST_UNPROVEN_BURST);
    CHECK_EQ(beast_source_ask(limit, &total, (struct sockaddr *)&v4, START + SECOND / 2), BEAST_SOURCE_LIMITED);
    CHECK(!beast_source_is_over(limit, (struct sockaddr *)&v4, START + SECOND / 2)); /* not for its own sake */
    CHECK_EQ(beast_source_limit_except(limit, &mine, 1), BEAST_OK);
    CHECK_EQ(inet_pton(AF_INET, "198.51.100.7", &v4.sin_addr), 1);
    CHECK_EQ(beast_source_ask(limit, &total, (struct sockaddr *)&v4, START + SECOND / 2), BEAST_SOURCE_ALLOWED);
    beast_source_limit_free(limit);
}

static void being_over_is_seen_without_taking(void)
{
    beast_source_limit *limit = beast_source_limit_new(2);
    bool over;
    CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), BEAST_SOURCE_ALLOWED);
    CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), BEAST_SOURCE_ALLOWED);
    CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), BEAST_SOURCE_LIMITED);
    CHECK(!over); /* nobody had been limited before */
    CHECK_EQ(ask_v4(limit, "192.0.2.1", &over), BEAST_SOURCE_LIMITED);
    CHECK(over);
    CHECK_EQ(ask_v4(limit, "198.51.100.1", &over), BEAST_SOURCE_ALLOWED);
    CHECK(!over);
    beast_source_limit_free(limit);
}

static void exceptions_are_never_limited(void)
{
    static const struct {
        const char *network;
        uint8_t bits;
    } known[] = {{"::ffff:192.0.2.0", 120}, {"2001:db8::", 32}, {"::ffff:198.51.100.7", 128}};
    beast_source_network list[BEAST_SOURCE_NETWORKS_MAX + 1] = {0};
    beast_source_limit *limit = beast_source_limit_new(1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(inet_pton(AF_INET6, known[i].network, list[i].address), 1);
        list[i].bits = known[i].bits;
    }
    CHECK_EQ(beast_source_limit_except(limit, list, 3), BEAST_OK);
    CHECK_EQ(allowed_of(limit, "192.0.2.200", 100, START), 100);
    CHECK_EQ(allowed_of(limit, "::ffff:192.0.2.201", 100, START), 100);
    CHECK_EQ(allowed_of(limit, "192.0.3.1", 100, START), 1);
    CHECK_EQ(allowed_of(limit, "198.51.100.7", 100, START), 100);
    CHECK_EQ(allowed_of(limit, "198.51.100.8", 100, START), 1);
    CHECK_EQ(allowed_of(limit, "2001:db8:7::9", 100, START), 100);
    CHECK_EQ(allowed_of(limit, "2001:db9::9", 100, START), 1);
    CHECK_EQ(beast_source_limit_except(limit, list, BEAST_SOURCE_NETWORKS_MAX + 1), BEAST_FULL);
    list[0].bits = 129;
    CHECK_EQ(beast_source_limit_except(limit, list, 1), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_source_limit_except(limit, list, 0), BEAST_OK);
    CHECK_EQ(allowed_of(limit, "192.0.2.203", 100, START), 1);
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
    RUN(a_dry_run_tells_and_limits_nobody);
    RUN(all_sources_together_have_a_total);
    RUN(being_over_is_seen_without_taking);
    RUN(exceptions_are_never_limited);
    RUN(threads_share_one_limit);
    return harness_report();
}
