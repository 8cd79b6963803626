/* A small engine to ask: three assets on two exchanges, a few keys, a clock that stands where it is put. */
#ifndef BEAST_ENGINE_FIXTURE_H
#define BEAST_ENGINE_FIXTURE_H

#include <arpa/inet.h>

#include "engine.h"
#include "feed_link.h"
#include "harness.h"

#define SECOND INT64_C(1000000000)
#define MS INT64_C(1000000)
#define START (1000 * SECOND)                   /* CLOCK_MONOTONIC of the tests */
#define TRADED INT64_C(1776003781123456000)     /* 2026-04-12T14:23:01.123456Z */
#define HEAD_BTC "{\"asset\":\"BTC\",\"price\":83421.57,\"currency\":\"USD\",\"exchange\":\"coinbase\"," \
                 "\"source\":\"coinbase-ws\",\"timestamp\":\"2026-04-12T14:23:01.123456Z\""

enum { BTC_COINBASE, BTC_KRAKEN, ETH_KRAKEN, ADA_KRAKEN, INSTRUMENTS };

typedef struct fixture {
    beast_engine *engine;
    beast_shared *shared;
    beast_lane *own;
    struct sockaddr_in peer;
    beast_moment moment;
    uint8_t bytes[BEAST_ASSETS_MAX * BEAST_ANSWER_MAX];
    uint32_t lens[BEAST_ASSETS_MAX];
    uint32_t count;
} fixture;

static inline beast_engine_config fixture_config(void)
{
    return (beast_engine_config){
        .node = "BeastMain",
        .workers = 1,
        .host = "127.0.0.1",
        .udp_port = 0,
        .http_port = -1,
        .udp_buffer = 4 << 20,
        .max_keys = 64,
        .max_instruments = 64,
        .usage_ring = 1 << 12,
        .miss_ring = 16,
        .source_per_second = 50,
        .ttl_ns = 13 * SECOND,
        .http = {.max_connections = 64, .head_ns = SECOND, .idle_ns = SECOND, .send_ns = SECOND},
    };
}

static inline void fixture_key(fixture *f, const char *text, uint64_t id, uint32_t per_second, uint32_t burst,
                               bool partner, int64_t allowance)
{
    uint8_t digest[32];

    beast_sha256((const uint8_t *)text, strlen(text), digest);
    CHECK_EQ(beast_key_put(f->shared->keys, digest, id, per_second, burst, partner, allowance, &f->shared->readers),
             BEAST_OK);
}

static inline void fixture_open(fixture *f, const beast_engine_config *config)
{
    static const beast_instrument list[INSTRUMENTS] = {
        {BTC_COINBASE, "BTC", "coinbase", "USD", 10, 0, -1, 1},
        {BTC_KRAKEN, "BTC", "kraken", "USD", 20, 1, -1, 1},
        {ETH_KRAKEN, "ETH", "kraken", "USD", 20, 1, -1, 1},
        {ADA_KRAKEN, "ADA", "kraken", "USDT", 20, 1, -1, 1},
    };

    memset(f, 0, sizeof *f);
    f->engine = beast_engine_new(config);
    f->shared = beast_engine_shared(f->engine);
    f->own = beast_engine_lane(f->engine, beast_engine_lanes(f->engine) - 1);
    f->peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(4242)};
    f->peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->moment = (beast_moment){.now_ns = START, .wall_ns = TRADED};
    CHECK_EQ(beast_price_table_load(f->shared->prices, list, INSTRUMENTS, &f->shared->readers), BEAST_OK);
    fixture_key(f, "tb_k", 7, 0, 0, false, INT64_MAX);
}

static inline void fixture_close(fixture *f)
{
    beast_engine_free(f->engine);
}

static inline void fixture_publish(fixture *f, uint32_t id, const char *price, int64_t received_ns)
{
    CHECK_EQ(beast_price_publish(f->shared->prices, id, (const uint8_t *)price, (uint32_t)strlen(price), TRADED,
                                 received_ns, received_ns, 0, 1),
             BEAST_OK);
}

static inline void fixture_ask(fixture *f, const char *datagram)
{
    f->count = beast_engine_ask(f->engine, (const uint8_t *)datagram, strlen(datagram),
                                (const struct sockaddr *)&f->peer, &f->moment, f->bytes, sizeof f->bytes, f->lens,
                                BEAST_ASSETS_MAX);
}

static inline uint64_t fixture_counter(fixture *f, beast_counter which)
{
    uint64_t sum[BEAST_COUNTER_COUNT] = {0};

    for (uint32_t i = 0; i < beast_engine_lanes(f->engine); i++)
        beast_counters_add(&beast_engine_lane(f->engine, i)->counters, sum);
    return sum[which];
}

/* Everything received is answered, refused, ignored, or waits. */
static inline void fixture_adds_up(fixture *f)
{
    CHECK_EQ(fixture_counter(f, BEAST_COUNTER_udp_packets_received),
             fixture_counter(f, BEAST_COUNTER_udp_answered) + fixture_counter(f, BEAST_COUNTER_udp_refused) +
                 fixture_counter(f, BEAST_COUNTER_udp_ignored) + fixture_counter(f, BEAST_COUNTER_udp_parked));
}

#endif
