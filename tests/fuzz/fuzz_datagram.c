/* The whole way of a datagram to its answers, with bytes that nobody meant. Whatever comes in: without a proven key
 * no more goes out than came in, and every answer is one line of JSON's outer shape, padded or not.
 *
 * The first byte chooses the clock and whether the key is spliced in, so that both worlds are met. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define KEY "tb_fuzz"
#define NOW INT64_C(1000000000000)

static beast_engine *make_engine(void)
{
    static const beast_instrument list[] = {
        {0, "BTC", "coinbase", "USD", 10, 0, -1, 1},
        {1, "BTC", "kraken", "USD", 20, 1, -1, 1},
        {2, "ETH", "kraken", "USDT", 20, 1, -1, 1},
        {3, "BTC", "consensus", "USD", 0, 0, -1, 1},
        {4, "ETH", "consensus", "USDT", 0, 0, -1, 1}};
    const beast_price_rules rules = {.ttl_ns = 13000000000, .quorum = 2, .outlier = 1};
    const beast_engine_config config = {.node = "fuzz", .workers = 1, .host = "127.0.0.1", .udp_port = -1,
        .http_port = -1, .max_keys = 16, .max_instruments = 16, .usage_ring = 2, .miss_ring = 2, .ttl_ns = 13000000000};
    beast_engine *engine = beast_engine_new(&config);
    beast_shared *shared = beast_engine_shared(engine);
    uint8_t digest[32];

    beast_sha256((const uint8_t *)KEY, sizeof KEY - 1, digest);
    if (beast_key_put(shared->keys, digest, 1, 0, 0, false, INT64_MAX, &shared->readers) ||
        beast_price_table_load(shared->prices, list, 5, &shared->readers) ||
        beast_price_publish(shared->prices, 0, (const uint8_t *)"83421.57", 8, NOW, NOW, NOW, 0, 1) ||
        beast_price_publish(shared->prices, 1, (const uint8_t *)"0.00000001", 10, NOW, NOW - 1, NOW - 1, 0, 2))
        abort();
    beast_price_judge(shared->prices, &rules);
    beast_price_sweep(shared->prices, NOW);
    return engine;
}

/* Puts the good key where the input says `KEY`. */
static size_t splice(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    size_t len = 0;

    for (size_t i = 0; i < size && len + sizeof KEY < room; i++)
        if (i + 3 <= size && memcmp(data + i, "KEY", 3) == 0) {
            memcpy(out + len, KEY, sizeof KEY - 1);
            len += sizeof KEY - 1;
            i += 2;
        } else {
            out[len++] = data[i];
        }
    return len;
}

static void check_answer(const uint8_t *answer, uint32_t len)
{
    while (len && answer[len - 1] == ' ')
        len--;
    if (len < 2 || len > BEAST_ANSWER_MAX || answer[0] != '{' || answer[len - 1] != '}')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_engine *engine;
    static uint8_t out[BEAST_ASSETS_MAX * BEAST_ANSWER_MAX];
    uint8_t datagram[2048];
    uint32_t lens[BEAST_ASSETS_MAX], total = 0;
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = 1};

    if (!engine)
        engine = make_engine();
    if (size == 0)
        return 0;
    const beast_moment moment = {.now_ns = NOW + (data[0] & 15) * INT64_C(2000000000), .wall_ns = NOW};
    size_t len = splice(data + 1, size - 1, datagram, sizeof datagram);
    uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one byte too many */
    memcpy(exact, datagram, len);
    uint32_t n = beast_engine_ask(engine, exact, len, (struct sockaddr *)&peer, &moment, out, sizeof out, lens,
                                  BEAST_ASSETS_MAX);
    free(exact);
    for (uint32_t i = 0; i < n; total += lens[i++])
        check_answer(out + total, lens[i]);
    if (total > len && !memmem(datagram, len, KEY, sizeof KEY - 1) && !memchr(datagram, '\\', len))
        abort(); /* an amplifier */
    return 0;
}
