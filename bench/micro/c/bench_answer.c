/* User-space cost of a UDP request, all of it but the system calls: batches of 32 through the worker's own stages.
 *
 *     cd bench/micro/c && gcc -std=c11 -D_GNU_SOURCE -O3 -flto -pthread -I../../../src/beast/_fast/c \
 *         bench_answer.c ../../../src/beast/_fast/c/*.c -o /tmp/bench_answer
 *     /tmp/bench_answer              ns per request, of several kinds
 *     valgrind --tool=callgrind --toggle-collect=one_batch /tmp/bench_answer 0 1024
 *                                    instructions of kind 0 over 1024 batches of 32
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "worker.h"

typedef struct kind {
    const char *name, *datagram;
    uint16_t ports; /* different peers */
} kind;

static const kind KINDS[] = {
    {"key and asset, distinct peers", "{\"api_key\":\"tb_0123456789abcdef0123456789abcdef0123456789a\",\"asset\":\"BTC\"}", 32},
    {"with exchange and id", "{\"api_key\":\"tb_0123456789abcdef0123456789abcdef0123456789a\",\"asset\":\"BTC\",\"exchange\":\"coinbase\",\"id\":\"a1\"}", 32},
    {"key and asset, 8 peers interleaved", "{\"api_key\":\"tb_0123456789abcdef0123456789abcdef0123456789a\",\"asset\":\"BTC\"}", 8},
    {"three assets", "{\"api_key\":\"tb_0123456789abcdef0123456789abcdef0123456789a\",\"assets\":[\"BTC\",\"ETH\",\"ADA\"]}", 32},
    {"unknown key", "{\"api_key\":\"tb_unknown\",\"asset\":\"BTC\",\"id\":\"a1\"}", 32},
};

static double seconds(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static beast_engine *make_engine(void)
{
    static const beast_instrument list[] = {
        {0, "BTC", "coinbase", "USD", 10, 0, -1, 1}, {1, "ETH", "coinbase", "USD", 10, 0, -1, 1}, {2, "ADA", "kraken", "USD", 20, 1, -1, 1}};
    const beast_engine_config config = {.node = "BeastMain", .workers = 1, .host = "127.0.0.1", .udp_port = -1,
        .http_port = -1, .max_keys = 1024, .max_instruments = 1024, .usage_ring = 1 << 16, .miss_ring = 2,
        .ttl_ns = INT64_C(1) << 60};
    const char key[] = "tb_0123456789abcdef0123456789abcdef0123456789a";
    beast_engine *engine = beast_engine_new(&config);
    beast_shared *shared = beast_engine_shared(engine);
    int64_t now = beast_moment_now().now_ns;
    uint8_t digest[32];

    beast_sha256((const uint8_t *)key, sizeof key - 1, digest);
    beast_key_put(shared->keys, digest, 1, 1000000000, 1000000000, false, INT64_MAX, &shared->readers);
    beast_price_table_load(shared->prices, list, 3, &shared->readers);
    for (uint32_t i = 0; i < 3; i++)
        beast_price_publish(shared->prices, i, (const uint8_t *)"83421.57", 8, INT64_C(1776003781123456000), now, now, 0, 1);
    return engine;
}

static void fill(beast_batch *batch, const kind *kind)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
        peer.sin_port = htons((uint16_t)(20000 + i % kind->ports * 37));
        beast_incoming_put(&batch->in, i, (const uint8_t *)kind->datagram, strlen(kind->datagram),
                           (struct sockaddr *)&peer);
    }
}

/* The loop of beast_udp_run without its two system calls. */
static void __attribute__((noinline)) one_batch(beast_batch *batch)
{
    beast_moment moment = beast_moment_now();

    beast_incoming_begin(&batch->in, BEAST_BATCH);
    beast_batch_serve(batch, NULL, &moment);
    beast_usage_sending(batch->lane->usage, beast_outgoing_ready(&batch->out));
    beast_lane_sent(batch->lane, batch->out.records);
    beast_outgoing_clear(&batch->out);
    beast_batch_publish(batch);
}

static double run(beast_batch *batch, const kind *kind, uint32_t batches)
{
    static beast_usage drained[1024];

    fill(batch, kind);
    double spent = 0;
    for (uint32_t done = 0; done < batches; done += 16) {
        double before = seconds();
        for (uint32_t i = 0; i < 16; i++)
            one_batch(batch);
        spent += seconds() - before;
        while (beast_usage_take(batch->lane->usage, drained, 1024))
            ;
    }
    return spent / batches / BEAST_BATCH * 1e9;
}

int main(int argc, char **argv)
{
    beast_engine *engine = make_engine();
    beast_batch *batch = beast_batch_new(beast_engine_lane(engine, 0), -1, true);

    if (argc > 1) {
        run(batch, &KINDS[atoi(argv[1])], argc > 2 ? (uint32_t)atoi(argv[2]) : 1024);
        return 0;
    }
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
        double best = 1e9;
        for (int round = 0; round < 9; round++) {
            double ns = run(batch, &KINDS[k], 8192);
            best = ns < best ? ns : best;
        }
        printf("%-40s %6.1f ns\n", KINDS[k].name, best);
    }
    beast_batch_free(batch);
    beast_engine_free(engine);
    return 0;
}
