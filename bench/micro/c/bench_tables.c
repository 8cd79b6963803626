/* What one step of the hot path costs on one core: tables, keys, admission, rings. One line each.
 *
 *     cc -std=c11 -D_GNU_SOURCE -O3 -flto -pthread -Isrc/beast/_fast/c bench/micro/c/bench_tables.c \
 *         src/beast/_fast/c/[a-z]*.c -o build/bench_tables && build/bench_tables */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "counters.h"
#include "histogram.h"
#include "key_table.h"
#include "price_table.h"
#include "source_limit.h"
#include "usage_ring.h"
#include "usage_sum.h"

#define BATCH 32
#define ROUNDS 9

static const beast_readers nobody;
static uint64_t random_state = 42;
static volatile uint64_t sink;

static uint64_t next_random(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545F4914F6CDD1D);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* what neighbours take from us doesn't count */
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void step(uint32_t n);

/* Best and median of the rounds: the best says what it costs, the median how noisy the machine is. */
static void measure(const char *what, step *run, uint32_t n)
{
    double took[ROUNDS];
    run(n);
    for (int round = 0; round < ROUNDS; round++) {
        double before = now_ns();
        run(n);
        took[round] = (now_ns() - before) / n;
    }
    qsort(took, ROUNDS, sizeof *took, compare_doubles);
    printf("%-58s %8.1f ns  (median %.1f)\n", what, took[0], took[ROUNDS / 2]);
}

/* Prices: 10,000 instruments, five exchanges an asset. */
#define INSTRUMENTS 10000
#define ASSETS (INSTRUMENTS / 5)

static beast_price_table *prices;
static beast_name asset[ASSETS];
static uint32_t one_asset;

static void load_prices(void)
{
    static char text[ASSETS][16];
    static beast_instrument list[INSTRUMENTS];
    static const char *const exchange[] = {"coinbase", "kraken", "gemini", "okx", "gateio"};
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        snprintf(text[i / 5], sizeof text[0], "A%u", i / 5);
        beast_name_fold(&asset[i / 5], (const uint8_t *)text[i / 5], (uint32_t)strlen(text[i / 5]), true);
        list[i] = (beast_instrument){i, text[i / 5], exchange[i % 5], "USD", (int32_t)(i % 5), 0, -1, 1};
    }
    prices = beast_price_table_new(1 << 14);
    double before = now_ns();
    if (beast_price_table_load(prices, list, INSTRUMENTS, &nobody) != BEAST_OK)
        abort();
    printf("%-58s %8.1f ms\n", "load of 10,000 instruments", (now_ns() - before) / 1e6);
    for (uint32_t i = 0; i < INSTRUMENTS; i++)
        beast_price_publish(prices, i, (const uint8_t *)"83421.57", 8, 1775995381123456000, 1, 1, 1, 1);
}

static void publish(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        beast_price_publish(prices, i % 16, (const uint8_t *)"83421.57", 8, 1775995381123456000 + i, 1, 1, 1, 1);
}

static void publish_cold(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        beast_price_publish(prices, (uint32_t)(next_random() % INSTRUMENTS), (const uint8_t *)"83421.57", 8,
                            1775995381123456000 + i * 1000, 1, 1, 1, 1);
}

static void read_price(uint32_t which)
{
    uint32_t count;
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    const beast_slot *slot =
        beast_layout_find(beast_layout_now(prices), 0, &asset[which], beast_name_hash(&asset[which]), &count);
    if (slot && beast_slot_copy(slot, &price, text))
        sink += text[16] + (uint64_t)beast_price_state(&price, beast_table_link(prices, price.link), 5, &(beast_freshness){.ttl_ns = 10});
}

static void read_hot(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        read_price(one_asset);
}

static void read_cold(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        read_price((uint32_t)(next_random() % ASSETS));
}

static void read_cold_staged(uint32_t n)
{
    for (uint32_t i = 0; i < n; i += BATCH) {
        uint32_t which[BATCH];
        for (int j = 0; j < BATCH; j++) {
            which[j] = (uint32_t)(next_random() % ASSETS);
            beast_layout_prefetch(beast_layout_now(prices), beast_name_hash(&asset[which[j]]));
        }
        for (int j = 0; j < BATCH; j++)
            read_price(which[j]);
    }
}

static void write_time(uint32_t n)
{
    uint8_t out[32];
    for (uint32_t i = 0; i < n; i++)
        sink += beast_write_time(out, 1775995381123456000 + (int64_t)i * 1000) + out[25];
}

/* Keys: a million, 46 characters each. */
#define KEYS 1000000
#define KEY_LEN 46

static beast_key_table *keys;
static beast_key_cache *cache;
static uint8_t (*literals)[KEY_LEN];

static void load_keys(void)
{
    keys = beast_key_table_new(1 << 20);
    cache = beast_key_cache_new();
    literals = malloc((size_t)KEYS * KEY_LEN);
    uint8_t(*digests)[BEAST_SHA256_LEN] = malloc((size_t)KEYS * BEAST_SHA256_LEN);
    if (!keys || !cache || !literals || !digests)
        abort();
    for (uint32_t i = 0; i < KEYS; i++) {
        memcpy(literals[i], "tb_", 3);
        for (int at = 3; at < KEY_LEN; at++)
            literals[i][at] = (uint8_t)('A' + next_random() % 26);
        beast_sha256(literals[i], KEY_LEN, digests[i]);
    }
    double before = now_ns();
    for (uint32_t i = 0; i < KEYS; i++)
        if (beast_key_put(keys, digests[i], i, 100, 200, i % 2, INT64_MAX, &nobody) != BEAST_OK)
            abort();
    printf("%-58s %8.1f ms\n", "put of a million keys", (now_ns() - before) / 1e6);
    free(digests);
}

static beast_slice literal(uint32_t i) { return (beast_slice){literals[i], KEY_LEN}; }

static beast_key *find_one(beast_slice text)
{
    beast_key_search search;
    beast_key_prefetch(cache, text, &search);
    return beast_key_find(cache, keys, &search);
}

static void find_hot(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sink += find_one(literal(i % 16))->id;
}

/* As a batch meets them: all hashed, `prepared` or not, then all found. */
static void find_batches(uint32_t n, bool prepared, uint32_t among)
{
    for (uint32_t i = 0; i < n; i += BATCH) {
        uint8_t text[BATCH][KEY_LEN];
        beast_key_search search[BATCH];
        for (int j = 0; j < BATCH; j++) /* copied: a request's key lies in its datagram, not in our list */
            memcpy(text[j], literals[next_random() % among], KEY_LEN);
        for (int j = 0; j < BATCH; j++) {
            beast_key_prefetch(cache, (beast_slice){text[j], KEY_LEN}, &search[j]);
        }
        for (int j = 0; j < BATCH && prepared; j++)
            if (!beast_key_recall(cache, keys, &search[j]))
                beast_key_digest(keys, &search[j]);
        for (int j = 0; j < BATCH && prepared; j++)
            beast_key_prefetch_record(keys, &search[j]);
        for (int j = 0; j < BATCH; j++)
            sink += beast_key_find(cache, keys, &search[j])->id;
    }
}

static void copy_only(uint32_t n)
{
    uint8_t text[BATCH][KEY_LEN];
    for (uint32_t i = 0; i < n; i++) {
        memcpy(text[i % BATCH], literals[next_random() % KEYS], KEY_LEN);
        sink += text[i % BATCH][5];
    }
}

static void find_thousand(uint32_t n) { find_batches(n, false, 1000); }
static void find_million(uint32_t n) { find_batches(n, false, KEYS); }
static void find_million_prepared(uint32_t n) { find_batches(n, true, KEYS); }

static void find_unknown(uint32_t n)
{
    uint8_t text[KEY_LEN];
    memcpy(text, literals[0], KEY_LEN);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(text + 3, &i, sizeof i);
        beast_slice unknown = {text, KEY_LEN};
        sink += find_one(unknown) == NULL;
    }
}

static void hash_key(uint32_t n)
{
    uint8_t digest[BEAST_SHA256_LEN];
    for (uint32_t i = 0; i < n; i++) {
        beast_sha256(literals[i % 16], KEY_LEN, digest);
        sink += digest[0];
    }
}

static void hash_key_portable(uint32_t n)
{
    uint8_t digest[BEAST_SHA256_LEN];
    for (uint32_t i = 0; i < n; i++) {
        beast_sha256_portable(literals[i % 16], KEY_LEN, digest);
        sink += digest[0];
    }
}

static void admit(uint32_t n)
{
    static int64_t clock = 1;
    int64_t retry;
    beast_key *key = beast_key_by_number(keys, 0);
    for (uint32_t i = 0; i < n; i++)
        sink += beast_key_admit(keys, cache, key, clock += 10000000, &retry);
}

static void add_to_counter(uint32_t n)
{
    static beast_counters counters;
    for (uint32_t i = 0; i < n; i++)
        beast_count(&counters, (beast_counter)(i % 16), 1);
}

static void add_to_histogram(uint32_t n)
{
    static beast_histogram histogram;
    for (uint32_t i = 0; i < n; i++)
        beast_histogram_add(&histogram, i);
}

static beast_usage_ring *ring;

static void claim_usage(uint32_t n)
{
    static beast_usage out[1024];
    for (uint32_t i = 0; i < n; i++) {
        beast_usage *record = beast_usage_claim(ring);
        *record = (beast_usage){.time_ns = i, .sequence = i, .key_id = i, .prices = 1};
        if (i % BATCH == BATCH - 1)
            beast_usage_sent(ring, beast_usage_unsent(ring), 0);
        if (i % 1024 == 1023)
            beast_usage_take(ring, out, 1024);
    }
}

static void fold_usage(uint32_t n)
{
    static beast_usage records[65536];
    static uint64_t ids[65536], counts[65536];
    for (uint32_t i = 0; i < n; i++)
        records[i].key_id = i % 1000;
    sink += beast_usage_fold(records, n, ids, counts);
}

static beast_source_limit *sources;

static void limit_sources(uint32_t n)
{
    struct sockaddr_in peer = {.sin_family = AF_INET};
    for (uint32_t i = 0; i < n; i++) {
        peer.sin_addr.s_addr = (uint32_t)next_random();
        beast_source_total total = {0};
        sink += beast_source_ask(sources, &total, (struct sockaddr *)&peer, 1000000000 + i);
    }
}

int main(void)
{
    load_prices();
    measure("price look-up, read and state, one asset", read_hot, 1000000);
    measure("the same, 2,000 assets at random", read_cold, 1000000);
    measure("the same, prefetched in batches of 32", read_cold_staged, 1000000);
    measure("publish, 16 instruments", publish, 1000000);
    measure("publish, 10,000 instruments at random", publish_cold, 1000000);
    measure("timestamp text", write_time, 1000000);
    load_keys();
    measure("key find, 16 keys", find_hot, 1000000);
    measure("key find, 1,000 keys at random, batches of 32", find_thousand, 1000000);
    measure("drawing a key from a million, part of the next two", copy_only, 1000000);
    measure("key find, a million keys at random, batches of 32", find_million, 1000000);
    measure("the same, prepared", find_million_prepared, 1000000);
    measure("key find, unknown and never seen", find_unknown, 1000000);
    measure("SHA-256 of a key", hash_key, 1000000);
    measure("SHA-256 of a key, portable", hash_key_portable, 100000);
    measure("admission with a rate", admit, 1000000);
    measure("a counter, another one each time", add_to_counter, 1 << 22);
    measure("a duration into a histogram", add_to_histogram, 1 << 22);
    ring = beast_usage_ring_new(65536);
    measure("usage record: claim, fill, publish, drain", claim_usage, 1 << 20);
    measure("usage fold, 65,536 records of 1,000 keys", fold_usage, 65536);
    sources = beast_source_limit_new(50);
    measure("source limit, random IPv4 sources", limit_sources, 1000000);
    return 0;
}
