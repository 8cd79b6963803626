/* A consensus and what it says of its sources are one write's, or are read again; so is why there is none. */
#include <pthread.h>
#include <sched.h>

#include "harness.h"
#include "price_layout.h"

#define READERS 3
#define SOURCES 6
#define CONSENSUS SOURCES

typedef struct stage {
    beast_price_table *table;
    uint64_t reads;
    _Atomic uint64_t broken, answers, refusals;
    _Atomic uint32_t reading;
} stage;

static uint64_t reads_wanted = 20000;

static const beast_instrument LIST[] = {
    {0, "BTC", "a", "USD", 0, 0, -1, 1}, {1, "BTC", "b", "USD", 1, 0, -1, 1}, {2, "BTC", "c", "USD", 2, 0, -1, 1},
    {3, "BTC", "d", "USD", 3, 0, -1, 1}, {4, "BTC", "e", "USD", 4, 0, -1, 1}, {5, "BTC", "f", "USD", 5, 0, -1, 1},
    {CONSENSUS, "BTC", "consensus", "USD", 0, 0, -1, 1},
};

/* So many sources have a price, and it is so many digits long. */
static void agree(beast_price_table *table, uint32_t sources, int64_t now_ns)
{
    for (uint32_t i = 0; i < SOURCES; i++)
        if (i < sources)
            CHECK_EQ(beast_price_publish(table, i, (const uint8_t *)"777777777", sources, 0, now_ns, now_ns, 0, 1), BEAST_OK);
        else
            beast_price_forget(table, i);
    beast_price_sweep(table, now_ns);
}

static bool is_whole(const beast_price *price, const char *text, uint32_t len)
{
    static const char *const used[] = {"", "", "[\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]", "[\"a\",\"b\",\"c\",\"d\"]",
                                       "[\"a\",\"b\",\"c\",\"d\",\"e\"]", "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]"};
    char want[64];
    int n = snprintf(want, sizeof want, ",\"sources_used\":%s,", used[price->price_len]);
    return len > price->text_len + (uint32_t)n && memcmp(text + price->text_len, want, (size_t)n) == 0 &&
           memcmp(text + len - 17, ",\"spread_bps\":0.0", 17) == 0;
}

static void *read_consensus(void *argument)
{
    static const char refusal[] = "\"error\":\"unavailable\",\"message\":\"the consensus needs 2 live sources that agree and has 1\"";
    stage *stage = argument;
    const beast_slot *slot = beast_price_slot(stage->table, CONSENSUS);
    uint8_t text[BEAST_SLOT_TEXT + BEAST_TAIL_MAX + 64];
    for (uint64_t i = 0; i < stage->reads; i++) {
        beast_price price;
        uint32_t len;
        if (beast_slot_read(slot, &price) && (len = beast_slot_text(slot, &price, text)) != 0) {
            stage->answers++;
            stage->broken += !is_whole(&price, (const char *)text, len);
        } else if ((len = beast_slot_refusal(slot, text)) != 0) {
            stage->refusals++;
            stage->broken += len != sizeof refusal - 1 || memcmp(text, refusal, len) != 0;
        }
        if (i % 1024 == 0)
            sched_yield();
    }
    stage->reading--;
    return NULL;
}

static void no_consensus_is_torn(void)
{
    static const beast_readers nobody;
    stage stage = {.table = beast_price_table_new(SOURCES + 1), .reads = reads_wanted, .reading = READERS};
    const beast_price_rules rules = {.ttl_ns = 1000, .quorum = 2, .outlier = 0.01};
    beast_price_judge(stage.table, &rules);
    CHECK_EQ(beast_price_table_load(stage.table, LIST, SOURCES + 1, &nobody), BEAST_OK);
    agree(stage.table, 1, 1);
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        pthread_create(&threads[i], NULL, read_consensus, &stage);
    int64_t n = 1;
    for (; stage.reading > 0; n++)
        agree(stage.table, 1 + n % SOURCES, 1 + n);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(stage.broken, 0);
    CHECK(stage.answers > 0);
    printf("  %" PRIu64 " answers, %" PRIu64 " refusals, %" PRIi64 " writes\n", (uint64_t)stage.answers,
           (uint64_t)stage.refusals, n);
    beast_price_table_free(stage.table);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        reads_wanted = strtoull(argv[1], NULL, 10);
    RUN(no_consensus_is_torn);
    return harness_report();
}
