/* API keys between threads: look-ups while keys come and go, exact rates, exact allowances, settling. */
#include <pthread.h>
#include <sched.h>

#include "harness.h"
#include "key_settle.h"

#define THREADS 3
#define SECOND INT64_C(1000000000)
#define START (1000 * SECOND)

typedef struct stage {
    beast_key_table *table;
    beast_key *key;
    beast_readers readers;
    beast_reader reader[THREADS];
    beast_key_cache *cache[THREADS];
    _Atomic int running;
    _Atomic uint64_t good, bad;
    _Atomic uint64_t changes; /* made so far by the writer */
} stage;

typedef struct part {
    stage *stage;
    int number;
} part;

typedef void *run_fn(void *part);

static void start(stage *stage, part *parts, pthread_t *threads, run_fn *run)
{
    stage->readers.count = THREADS;
    stage->running = THREADS;
    for (int i = 0; i < THREADS; i++)
        stage->readers.reader[i] = &stage->reader[i];
    for (int i = 0; i < THREADS; i++) {
        parts[i] = (part){stage, i};
        pthread_create(&threads[i], NULL, run, &parts[i]);
    }
}

static void join(pthread_t *threads)
{
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

#define KEYS 3000
#define LASTING 100 /* the first ones are never dropped */
#define FINDS 60000
#define CHANGES 200 /* the finders go on until there were so many, however late the writer gets a processor */

static beast_slice literal_of(char *text, size_t size, uint32_t number)
{
    int len = snprintf(text, size, "tb_%u", number);
    return (beast_slice){(const uint8_t *)text, (uint32_t)len};
}

static beast_status put(stage *stage, uint32_t number)
{
    char text[32];
    uint8_t digest[BEAST_SHA256_LEN];
    beast_slice literal = literal_of(text, sizeof text, number);
    beast_sha256(literal.ptr, literal.len, digest);
    return beast_key_put(stage->table, digest, number, 0, 0, false, INT64_MAX, &stage->readers);
}

static beast_status drop(stage *stage, uint32_t number)
{
    char text[32];
    uint8_t digest[BEAST_SHA256_LEN];
    beast_slice literal = literal_of(text, sizeof text, number);
    beast_sha256(literal.ptr, literal.len, digest);
    return beast_key_drop(stage->table, digest, &stage->readers);
}

/* What is found is the key's own record; the lasting ones are always found. */
static void *find_keys(void *argument)
{
    part *part = argument;
    stage *stage = part->stage;
    uint64_t random = 5 + (uint64_t)part->number, good = 0, bad = 0;
    beast_key_cache *cache = beast_key_cache_new();
    for (uint64_t i = 0; i < FINDS || atomic_load(&stage->changes) < CHANGES; i++) {
        char text[32];
        uint32_t number = (uint32_t)(harness_random(&random) % (i % 2 ? LASTING : KEYS));
        beast_slice literal = literal_of(text, sizeof text, number);
        beast_key_search search;
        beast_reader_enter(&stage->reader[part->number]);
        beast_key_prefetch(cache, literal, &search);
        if (i % 3 == 0 && !beast_key_recall(cache, stage->table, &search)) {
            beast_key_digest(stage->table, &search);
            beast_key_prefetch_record(stage->table, &search);
        }
        beast_key *key = beast_key_find(cache, stage->table, &search);
        good += key != NULL;
        bad += key ? atomic_load_explicit(&key->id, memory_order_relaxed) != number : number < LASTING;
        beast_reader_leave(&stage->reader[part->number]);
    }
    beast_key_cache_free(cache);
    atomic_fetch_add(&stage->good, good);
    atomic_fetch_add(&stage->bad, bad);
    atomic_fetch_sub(&stage->running, 1);
    return NULL;
}

static void finding_survives_adding_dropping_and_rebuilding(void)
{
    stage stage = {.table = beast_key_table_new(KEYS)};
    part parts[THREADS];
    pthread_t threads[THREADS];
    static bool there[KEYS];
    uint64_t random = 9;
    for (uint32_t i = 0; i < LASTING; i++)
        CHECK_EQ(put(&stage, i), BEAST_OK);
    start(&stage, parts, threads, find_keys);
    for (; atomic_load(&stage.running) > 0; stage.changes++) {
        uint32_t number = LASTING + (uint32_t)(harness_random(&random) % (KEYS - LASTING));
        CHECK_EQ(there[number] ? drop(&stage, number) : put(&stage, number), BEAST_OK);
        there[number] = !there[number];
    }
    join(threads);
    CHECK_EQ(stage.bad, 0);
    CHECK(stage.good > FINDS);
    CHECK(stage.changes >= CHANGES);
    beast_key_table_free(stage.table);
}

/* Two seconds of the clock, in steps that every thread takes for itself. */
static void *ask_for_two_seconds(void *argument)
{
    stage *stage = ((part *)argument)->stage;
    beast_key_cache *cache = beast_key_cache_new();
    uint64_t good = 0;
    int64_t retry;
    for (int64_t tick = 0; tick <= 20000; tick++)
        good += beast_key_admit(stage->table, cache, stage->key, START + tick * SECOND / 10000, &retry) ==
                BEAST_RESULT_ANSWERED;
    beast_key_cache_free(cache);
    atomic_fetch_add(&stage->good, good);
    return NULL;
}

static void a_rate_is_exact_over_threads(void)
{
    stage stage = {.table = beast_key_table_new(4)};
    part parts[THREADS];
    pthread_t threads[THREADS];
    const uint8_t digest[BEAST_SHA256_LEN] = {1};
    CHECK_EQ(beast_key_put(stage.table, digest, 1, 1000, 50, false, INT64_MAX, &stage.readers), BEAST_OK);
    stage.key = beast_key_by_digest(stage.table, digest);
    start(&stage, parts, threads, ask_for_two_seconds);
    join(threads);
    CHECK_EQ(stage.good, 2 * 1000 + 50);
    beast_key_table_free(stage.table);
}

#define ALLOWANCE 20000

/* Every third answer is given back. */
static void *spend(void *argument)
{
    stage *stage = ((part *)argument)->stage;
    beast_key_cache *cache = beast_key_cache_new();
    uint64_t kept = 0, below = 0;
    int64_t retry;
    for (int i = 0; i < ALLOWANCE; i++) {
        bool taken = beast_key_admit(stage->table, cache, stage->key, START, &retry) == BEAST_RESULT_ANSWERED;
        below += beast_allowance_of(atomic_load_explicit(&stage->key->balance, memory_order_relaxed)) > ALLOWANCE;
        if (taken && i % 3 == 0)
            beast_key_refund(stage->key);
        else
            kept += taken;
    }
    beast_key_cache_free(cache);
    atomic_fetch_add(&stage->good, kept);
    atomic_fetch_add(&stage->bad, below);
    return NULL;
}

static void an_allowance_is_exact_over_threads(void)
{
    stage stage = {.table = beast_key_table_new(4)};
    part parts[THREADS];
    pthread_t threads[THREADS];
    const uint8_t digest[BEAST_SHA256_LEN] = {1};
    CHECK_EQ(beast_key_put(stage.table, digest, 1, 0, 0, false, ALLOWANCE, &stage.readers), BEAST_OK);
    stage.key = beast_key_by_digest(stage.table, digest);
    start(&stage, parts, threads, spend);
    join(threads);
    CHECK_EQ(stage.good + (uint64_t)beast_allowance_of(stage.key->balance), ALLOWANCE);
    CHECK_EQ(stage.bad, 0);
    beast_key_table_free(stage.table);
}

#define LEASE 7
#define SHARED_KEYS 5
#define CAP 40
#define ROUNDS 200 /* of settling, that the lanes go on for */
#define ROUNDS_MAX 50000000 /* then something is wrong */

/* Keys drawn at random, under leases. */
static void *ask_under_leases(void *argument)
{
    part *part = argument;
    stage *stage = part->stage;
    beast_key_cache *cache = stage->cache[part->number];
    uint64_t random = 3 + (uint64_t)part->number, good = 0, bad = 0;
    int64_t retry;
    for (int i = 0; i < ALLOWANCE || atomic_load(&stage->changes) < ROUNDS; i++) {
        beast_key *key = beast_key_by_number(stage->table, (uint32_t)(harness_random(&random) % SHARED_KEYS));
        beast_reader_enter(&stage->reader[part->number]);
        good += beast_key_admit(stage->table, cache, key, START, &retry) == BEAST_RESULT_ANSWERED;
        bad += beast_unsettled_of(atomic_load_explicit(&key->balance, memory_order_relaxed)) > LEASE;
        beast_reader_leave(&stage->reader[part->number]);
    }
    atomic_fetch_add(&stage->good, good);
    atomic_fetch_add(&stage->bad, bad);
    atomic_fetch_sub(&stage->running, 1);
    return NULL;
}

/* Takes from all lanes, settles; every admission once. */
static uint64_t settle_all(stage *stage, int64_t *used)
{
    beast_key_dues dues[2 * SHARED_KEYS];
    uint64_t settled = 0;
    uint32_t n = beast_keys_collect(stage->table, NULL, dues, SHARED_KEYS);
    for (int i = 0; i < THREADS; i++)
        n += beast_keys_collect(stage->table, stage->cache[i], dues + n, 2 * SHARED_KEYS - n);
    for (uint32_t i = 0; i < n; i++) {
        settled += dues[i].admitted;
        used[dues[i].number] += dues[i].answered;
        for (uint32_t j = 0; j < i; j++)
            atomic_fetch_add(&stage->bad, dues[j].number == dues[i].number); /* in one list only */
        beast_key_settle(stage->table, &dues[i], START, -1, used[dues[i].number]);
    }
    return settled;
}

static bool capped_are_used(const int64_t *used)
{
    for (int i = 0; i < SHARED_KEYS; i += 2)
        if (used[i] < CAP)
            return false;
    return true;
}

static void every_admission_is_settled_once(void)
{
    stage stage = {.table = beast_key_table_new(SHARED_KEYS)};
    part parts[THREADS];
    pthread_t threads[THREADS];
    int64_t used[SHARED_KEYS] = {0};
    uint64_t settled = 0, told = 0;
    beast_key_terms_set(beast_key_terms_of(stage.table), true, 1, 1, true, 1);
    for (uint8_t i = 0; i < SHARED_KEYS; i++) {
        const uint8_t digest[BEAST_SHA256_LEN] = {i};
        const beast_key_limits limits = {.id = i, .lease = LEASE, .cap = i % 2 ? BEAST_NO_CAP - 1 : CAP};
        CHECK_EQ(beast_key_set(stage.table, digest, &limits, &stage.readers), BEAST_OK);
    }
    for (int i = 0; i < THREADS; i++)
        stage.cache[i] = beast_key_cache_new();
    start(&stage, parts, threads, ask_under_leases);
    /* The lanes go on until the caps are used up, however rarely they get their turn beside this thread. */
    for (uint64_t turn = 0; atomic_load(&stage.running) > 0; turn++) {
        settled += settle_all(&stage, used);
        if (turn < ROUNDS - 1 || capped_are_used(used) || turn > ROUNDS_MAX)
            atomic_fetch_add(&stage.changes, 1);
        sched_yield();
    }
    join(threads);
    for (int i = 0; i < 3; i++) /* the first turn may leave what lanes touched behind what they had */
        settled += settle_all(&stage, used);
    for (int i = 0; i < SHARED_KEYS; i++)
        told += (uint64_t)used[i];
    CHECK_EQ(stage.bad, 0);
    CHECK_EQ(settled, stage.good);
    CHECK_EQ(told, stage.good);
    for (int i = 0; i < SHARED_KEYS; i += 2)
        CHECK_EQ(used[i], CAP); /* to the last one, and not one more */
    for (int i = 0; i < THREADS; i++)
        beast_key_cache_free(stage.cache[i]);
    beast_key_table_free(stage.table);
}

int main(void)
{
    RUN(finding_survives_adding_dropping_and_rebuilding);
    RUN(a_rate_is_exact_over_threads);
    RUN(an_allowance_is_exact_over_threads);
    RUN(every_admission_is_settled_once);
    return harness_report();
}
