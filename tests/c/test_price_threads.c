/* The price table between threads: whole answers only, and no layout freed under a reader.
 *
 *     test_price_threads            a short run
 *     test_price_threads 100000000  as many reads by each reader of one slot */
#include <pthread.h>
#include <sched.h>

#include "harness.h"
#include "price_table.h"

#define READERS 2
#define LOADS 10
#define WHOLE 1000000007u

typedef struct stage {
    beast_price_table *table;
    beast_readers readers;
    beast_reader reader[READERS];
    uint64_t reads;      /* by each reader */
    _Atomic int reading; /* readers not done */
    _Atomic uint64_t broken, misses, changes;
    _Atomic uint64_t loads; /* how often the layout was replaced */
} stage;

typedef struct part {
    stage *stage;
    int number;
} part;

static uint64_t reads_wanted = 200000;

/* All that the n-th write holds follows from n: price, times, epoch, tier, length. */
static void publish_nth(beast_price_table *table, uint64_t n)
{
    char price[32];
    int len = n % 2 ? snprintf(price, sizeof price, "%" PRIu64, n)
                    : snprintf(price, sizeof price, "%" PRIu64 ".%010" PRIu64, n, n);
    uint8_t tier = n % 2 ? 1 : 3;
    CHECK_EQ(beast_price_publish(table, 0, (const uint8_t *)price, (uint32_t)len, (int64_t)(n * WHOLE), (int64_t)n,
                                 (int64_t)n + 5, (uint32_t)n, tier),
             BEAST_OK);
}

static bool is_whole(const beast_price *got, const char *text)
{
    uint64_t n = (uint64_t)got->received_ns;
    uint8_t time[BEAST_TIME_MAX];
    uint32_t time_len = beast_write_time(time, (int64_t)(n * WHOLE));
    if (got->fresh_ns != (int64_t)n + 5 || got->epoch != (uint32_t)n || got->tier != (n % 2 ? 1 : 3) ||
        got->timestamp_len != time_len || memcmp(text + got->timestamp_at, time, time_len) != 0 ||
        text[got->text_len - 1] != '"' || memcmp(text, "{\"asset\":\"BTC\",\"price\":", 23) != 0)
        return false;
    char *end;
    uint64_t whole_part = strtoull(text + got->price_at, &end, 10);
    bool decimals = *end == '.';
    uint64_t part = decimals ? strtoull(end + 1, &end, 10) : n;
    char want[128];
    snprintf(want, sizeof want,
             ",\"currency\":\"USD\",\"exchange\":\"kraken\",\"source\":\"kraken-%s\",\"timestamp\":\"",
             n % 2 ? "ws" : "rest");
    return whole_part == n && part == n && decimals == (n % 2 == 0) && end == text + got->price_at + got->price_len &&
           end + strlen(want) == text + got->timestamp_at && memcmp(end, want, strlen(want)) == 0;
}

static void *read_one_slot(void *argument)
{
    stage *stage = ((part *)argument)->stage;
    const beast_slot *slot = beast_price_slot(stage->table, 0);
    beast_price price;
    uint8_t text[BEAST_SLOT_TEXT];
    uint64_t broken = 0, changes = 0;
    int64_t last = 0;
    for (uint64_t i = 0; i < stage->reads; i++) {
        bool held = beast_slot_copy(slot, &price, text);
        broken += held && price.received_ns != last && !is_whole(&price, (const char *)text);
        broken += !held || price.received_ns < last; /* nor does time run backwards */
        changes += price.received_ns != last;
        last = price.received_ns;
        if (i % 4096 == 0)
            sched_yield(); /* a short run on one processor would be over before the writer's turn */
    }
    atomic_fetch_add(&stage->broken, broken);
    atomic_fetch_add(&stage->changes, changes);
    atomic_fetch_sub(&stage->reading, 1);
    return NULL;
}

static void no_answer_is_torn(void)
{
    static const beast_instrument one = {0, "BTC", "kraken", "USD", 0, 0, -1, 1};
    static const beast_readers nobody;
    stage stage = {.table = beast_price_table_new(1), .reads = reads_wanted, .reading = READERS};
    CHECK_EQ(beast_price_table_load(stage.table, &one, 1, &nobody), BEAST_OK);
    publish_nth(stage.table, 1);
    pthread_t threads[READERS];
    part parts[READERS];
    for (int i = 0; i < READERS; i++) {
        parts[i] = (part){&stage, i};
        pthread_create(&threads[i], NULL, read_one_slot, &parts[i]);
    }
    uint64_t n = 2;
    while (atomic_load(&stage.reading) > 0)
        publish_nth(stage.table, n++);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(stage.broken, 0);
    CHECK(stage.changes > READERS);
    printf("  %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " changes seen\n", READERS * stage.reads, n,
           (uint64_t)stage.changes);
    beast_price_table_free(stage.table);
}

#define ASSETS 50

/* Every other asset comes and goes; readers ask for those that stay. */
static char names[ASSETS][16];

static bool stays(uint32_t i) { return i % 2 == 0; }

static void *read_all_assets(void *argument)
{
    part *part = argument;
    stage *stage = part->stage;
    uint64_t random = 11 + (uint64_t)part->number, broken = 0, misses = 0;
    /* A busy machine may let the readers run alone for long: they stay until enough layouts were replaced. */
    for (uint64_t i = 0; i < stage->reads || atomic_load(&stage->loads) < LOADS; i++) {
        const char *asset = names[harness_random(&random) % (ASSETS / 2) * 2];
        beast_name name;
        beast_name_fold(&name, (const uint8_t *)asset, (uint32_t)strlen(asset), true);
        beast_reader_enter(&stage->reader[part->number]);
        uint32_t count;
        const beast_slot *slot =
            beast_layout_find(beast_layout_now(stage->table), 0, &name, beast_name_hash(&name), &count);
        beast_price price;
        uint8_t text[BEAST_SLOT_TEXT];
        misses += slot == NULL;
        if (slot && beast_slot_copy(slot, &price, text)) {
            size_t len = strlen(asset);
            broken += memcmp(text + 10, asset, len) != 0 || text[10 + len] != '"' || price.price_len != 5 ||
                      memcmp(text + price.price_at, "12345", 5) != 0;
        } else if (slot) {
            broken++; /* what was held must have been carried over */
        }
        beast_reader_leave(&stage->reader[part->number]);
    }
    atomic_fetch_add(&stage->broken, broken);
    atomic_fetch_add(&stage->misses, misses);
    atomic_fetch_sub(&stage->reading, 1);
    return NULL;
}

/* All change their ids. */
static void load_round(stage *stage, uint64_t round)
{
    beast_instrument list[ASSETS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < ASSETS; i++)
        if (stays(i) || round % 2 == 0)
            list[n++] = (beast_instrument){(uint32_t)(i + round) % ASSETS, names[i], "kraken", "USD", (int32_t)i, 0, -1, 1};
    CHECK_EQ(beast_price_table_load(stage->table, list, n, &stage->readers), BEAST_OK);
    for (uint32_t i = 0; i < n; i++)
        CHECK_EQ(beast_price_publish(stage->table, list[i].id, (const uint8_t *)"12345", 5, 1, 1, 1, 1, 1), BEAST_OK);
}

static void readers_outlive_layouts(void)
{
    stage stage = {.table = beast_price_table_new(ASSETS), .reads = reads_wanted, .reading = READERS};
    pthread_t threads[READERS];
    part parts[READERS];
    for (int i = 0; i < ASSETS; i++)
        snprintf(names[i], sizeof names[i], "A%d", i);
    stage.readers.count = READERS;
    for (int i = 0; i < READERS; i++)
        stage.readers.reader[i] = &stage.reader[i];
    load_round(&stage, 0);
    for (int i = 0; i < READERS; i++) {
        parts[i] = (part){&stage, i};
        pthread_create(&threads[i], NULL, read_all_assets, &parts[i]);
    }
    uint64_t round = 1;
    while (atomic_load(&stage.reading) > 0)
        load_round(&stage, round++), atomic_fetch_add(&stage.loads, 1);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(stage.broken, 0);
    CHECK_EQ(stage.misses, 0);
    CHECK(round > LOADS);
    beast_price_table_free(stage.table);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        reads_wanted = strtoull(argv[1], NULL, 10);
    RUN(no_answer_is_torn);
    if (argc == 1)
        RUN(readers_outlive_layouts);
    return harness_report();
}
