/* The rings between a lane and the main thread: usage records, parked requests, and the sums over usage records. */
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "miss_ring.h"
#include "usage_ring.h"
#include "usage_sum.h"

static void capacities_are_powers_of_two(void)
{
    CHECK(beast_usage_ring_new(0) == NULL);
    CHECK(beast_usage_ring_new(3) == NULL);
    CHECK(beast_miss_ring_new(0) == NULL);
    CHECK(beast_miss_ring_new(1000) == NULL);
}

static void publish(beast_usage_ring *ring, int wake_fd)
{
    beast_usage_sent(ring, beast_usage_unsent(ring), 0);
    beast_usage_wake(ring, wake_fd);
}

static void claimed_records_show_once_published(void)
{
    beast_usage_ring *ring = beast_usage_ring_new(4);
    beast_usage out[8];
    for (uint64_t i = 1; i <= 4; i++)
        CHECK_EQ(beast_usage_claim(ring)->sequence, i);
    CHECK(beast_usage_claim(ring) == NULL);
    CHECK_EQ(beast_usage_take(ring, out, 8), 0);
    CHECK_EQ(beast_usage_fill(ring), 0);
    publish(ring, -1);
    CHECK_EQ(beast_usage_fill(ring), 4);
    CHECK_EQ(beast_usage_take(ring, out, 3), 3);
    CHECK_EQ(out[2].sequence, 3);
    for (uint64_t i = 5; i <= 7; i++)
        CHECK_EQ(beast_usage_claim(ring)->sequence, i);
    CHECK(beast_usage_claim(ring) == NULL);
    publish(ring, -1);
    CHECK_EQ(beast_usage_take(ring, out, 8), 4); /* around the end */
    for (int i = 0; i < 4; i++)
        CHECK_EQ(out[i].sequence, 4 + i);
    beast_usage_ring_free(ring);
}

typedef struct stream {
    beast_usage_ring *usage;
    beast_miss_ring *misses;
    uint64_t n, lost;
    int wake_fd;
} stream;

static void *produce_usage(void *argument)
{
    stream *stream = argument;
    uint64_t random = 7;
    for (uint64_t sent = 0; sent < stream->n;) {
        for (uint64_t batch = 1 + harness_random(&random) % 32; batch > 0 && sent < stream->n; batch--) {
            beast_usage *record = beast_usage_claim(stream->usage);
            if (!record)
                break;
            *record = (beast_usage){.sequence = record->sequence, .key_id = ~record->sequence};
            record->prices = (uint16_t)++sent;
        }
        publish(stream->usage, stream->wake_fd);
        if (harness_random(&random) % 8 == 0)
            sched_yield();
    }
    return NULL;
}

static void usage_records_cross_threads_in_order(void)
{
    stream stream = {.usage = beast_usage_ring_new(256), .n = 300000, .wake_fd = -1};
    pthread_t producer;
    pthread_create(&producer, NULL, produce_usage, &stream);
    uint64_t next = 1, broken = 0;
    while (next <= stream.n) {
        beast_usage out[100];
        uint32_t n = beast_usage_take(stream.usage, out, 100);
        for (uint32_t i = 0; i < n; i++, next++)
            broken += out[i].sequence != next || out[i].key_id != ~next || out[i].prices != (uint16_t)next;
        if (n == 0)
            sched_yield();
    }
    pthread_join(producer, NULL);
    CHECK_EQ(broken, 0);
    beast_usage_ring_free(stream.usage);
}

static void produce(beast_usage_ring *ring, int wake_fd, int n)
{
    for (int i = 0; i < n; i++)
        CHECK(beast_usage_claim(ring) != NULL);
    publish(ring, wake_fd);
}

/* How often the consumer was woken since the last time. */
static uint64_t wakes(int wake_fd)
{
    uint64_t count = 0;
    return read(wake_fd, &count, sizeof count) == sizeof count ? count : 0;
}

static void a_half_full_ring_wakes_its_consumer(void)
{
    beast_usage_ring *ring = beast_usage_ring_new(16);
    beast_usage out[16];
    int wake_fd = eventfd(0, EFD_NONBLOCK);
    produce(ring, wake_fd, 7);
    CHECK_EQ(wakes(wake_fd), 0);
    produce(ring, wake_fd, 1);
    CHECK_EQ(wakes(wake_fd), 1);
    for (int i = 0; i < 7; i++)
        produce(ring, wake_fd, 1);
    CHECK_EQ(wakes(wake_fd), 0); /* it has been told */
    produce(ring, wake_fd, 1);
    CHECK_EQ(wakes(wake_fd), 1); /* but did not come in time for another half */
    CHECK(beast_usage_claim(ring) == NULL);
    publish(ring, wake_fd);
    CHECK_EQ(wakes(wake_fd), 0);
    CHECK_EQ(beast_usage_take(ring, out, 16), 16);
    for (int i = 0; i < 100; i++) { /* whoever keeps up is left alone */
        produce(ring, wake_fd, 7);
        CHECK_EQ(beast_usage_take(ring, out, 16), 7);
    }
    CHECK_EQ(wakes(wake_fd), 0);
    produce(ring, wake_fd, 16);
    CHECK_EQ(wakes(wake_fd), 1);
    close(wake_fd);
    beast_usage_ring_free(ring);
}

/* A consumer that sleeps until it is told takes all but what never filled half a ring. */
static void a_sleeping_consumer_is_woken_in_time(void)
{
    stream stream = {.usage = beast_usage_ring_new(256), .n = 300000, .wake_fd = eventfd(0, EFD_NONBLOCK)};
    struct pollfd woken = {.fd = stream.wake_fd, .events = POLLIN};
    beast_usage out[256];
    pthread_t producer;
    pthread_create(&producer, NULL, produce_usage, &stream);
    uint64_t taken = 0;
    while (taken + 128 <= stream.n && poll(&woken, 1, 10000) == 1) {
        wakes(stream.wake_fd);
        for (uint32_t n; (n = beast_usage_take(stream.usage, out, 256)) != 0;)
            taken += n;
    }
    CHECK(taken + 128 > stream.n);
    pthread_join(producer, NULL);
    CHECK_EQ(taken + beast_usage_take(stream.usage, out, 256), stream.n);
    close(stream.wake_fd);
    beast_usage_ring_free(stream.usage);
}

static void *produce_in_pace(void *argument)
{
    stream *stream = argument;
    uint64_t random = 7, lost = 0;
    for (uint64_t sent = 0; sent < stream->n;) {
        for (uint64_t round = 1 + harness_random(&random) % 64; round > 0 && sent < stream->n; round--, sent++)
            lost += beast_usage_claim(stream->usage) == NULL;
        publish(stream->usage, stream->wake_fd);
        beast_usage_pace(stream->usage, INT64_MAX / 2);
    }
    stream->lost = lost;
    return NULL;
}

/* The consumer takes a little at a time, and is in no hurry. */
static void a_producer_waits_for_a_slow_consumer(void)
{
    stream stream = {.usage = beast_usage_ring_new(256), .n = 20000, .wake_fd = -1};
    const struct timespec nap = {.tv_nsec = 100000};
    beast_usage out[50];
    pthread_t producer;
    pthread_create(&producer, NULL, produce_in_pace, &stream);
    for (uint64_t taken = 0; taken < stream.n;) {
        taken += beast_usage_take(stream.usage, out, 50);
        nanosleep(&nap, NULL);
    }
    pthread_join(producer, NULL);
    CHECK_EQ(stream.lost, 0);
    beast_usage_ring_free(stream.usage);
}

/* It is given up until it moves again. */
static void a_dead_consumer_is_waited_for_once(void)
{
    beast_usage_ring *ring = beast_usage_ring_new(16);
    beast_usage out[16];
    produce(ring, -1, 12);
    CHECK(!beast_usage_pace(ring, 1));
    produce(ring, -1, 1);
    CHECK(beast_usage_pace(ring, 1));
    CHECK(!beast_usage_pace(ring, INT64_MAX / 2));
    produce(ring, -1, 3);
    CHECK(beast_usage_claim(ring) == NULL);
    CHECK(!beast_usage_pace(ring, INT64_MAX / 2));
    CHECK_EQ(beast_usage_take(ring, out, 1), 1);
    CHECK(beast_usage_pace(ring, 1)); /* it lives, and so is waited for */
    CHECK(!beast_usage_pace(ring, INT64_MAX / 2));
    CHECK_EQ(beast_usage_take(ring, out, 16), 15);
    CHECK(!beast_usage_pace(ring, INT64_MAX / 2));
    beast_usage_ring_free(ring);
}

static void *produce_misses(void *argument)
{
    stream *stream = argument;
    for (uint64_t sent = 0; sent < stream->n;) {
        beast_miss *miss = beast_miss_claim(stream->misses);
        if (!miss) {
            sched_yield();
            continue;
        }
        miss->deadline_ns = (int64_t)++sent;
        miss->len = (uint16_t)(sent % (BEAST_DATAGRAM_MAX + 1));
        memset(miss->datagram, (int)(sent & 0x7F), miss->len);
        beast_miss_publish(stream->misses);
    }
    return NULL;
}

static void misses_cross_threads_in_order(void)
{
    stream stream = {.misses = beast_miss_ring_new(16), .n = 20000};
    pthread_t producer;
    pthread_create(&producer, NULL, produce_misses, &stream);
    uint64_t broken = 0;
    for (uint64_t next = 1; next <= stream.n;) {
        beast_miss miss;
        if (!beast_miss_take(stream.misses, &miss)) {
            sched_yield();
            continue;
        }
        broken += miss.deadline_ns != (int64_t)next || miss.len != next % (BEAST_DATAGRAM_MAX + 1);
        broken += miss.len > 0 && (miss.datagram[0] != (next & 0x7F) || miss.datagram[miss.len - 1] != (next & 0x7F));
        next++;
    }
    pthread_join(producer, NULL);
    CHECK_EQ(broken, 0);
    beast_miss_ring_free(stream.misses);
}

static void a_full_miss_ring_says_so(void)
{
    beast_miss_ring *ring = beast_miss_ring_new(2);
    beast_miss out;
    CHECK(!beast_miss_take(ring, &out));
    CHECK(beast_miss_claim(ring) != NULL);
    CHECK(beast_miss_claim(ring) != NULL);
    CHECK(beast_miss_claim(ring) == NULL);
    beast_miss_ring_free(ring);
}

#define FOLD_MAX 65536

static beast_usage records[FOLD_MAX];
static uint64_t key_ids[FOLD_MAX], counts[FOLD_MAX];

/* Every key once, with as many answers as it has records. */
static void check_fold(uint32_t n, uint64_t keys, uint64_t step)
{
    for (uint32_t i = 0; i < n; i++)
        records[i] = (beast_usage){.sequence = i, .key_id = i % keys * step};
    uint32_t pairs = beast_usage_fold(records, n, key_ids, counts);
    CHECK_EQ(pairs, n < keys ? n : keys);
    uint64_t sum = 0, wrong = 0;
    static uint8_t seen[FOLD_MAX];
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < pairs; i++) {
        uint64_t number = step ? key_ids[i] / step : 0;
        wrong += number >= keys || seen[number]++ != 0 || counts[i] != n / keys + (number < n % keys);
        sum += counts[i];
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(sum, n);
    for (uint32_t i = 0; i < n; i++)
        wrong += records[i].sequence != i;
    CHECK_EQ(wrong, 0);
}

static void folding_adds_up_per_key(void)
{
    check_fold(0, 1, 1);
    check_fold(1, 1, 0);
    check_fold(7, 1, 1);
    check_fold(1000, 3, 1);
    check_fold(1000, 1000, 1);
    check_fold(999, 1000, 1u << 20);
    check_fold(FOLD_MAX, 100, 1);
    check_fold(FOLD_MAX, FOLD_MAX, 1);
    check_fold(FOLD_MAX, FOLD_MAX, UINT64_C(1) << 40);
}

int main(void)
{
    RUN(capacities_are_powers_of_two);
    RUN(claimed_records_show_once_published);
    RUN(usage_records_cross_threads_in_order);
    RUN(a_half_full_ring_wakes_its_consumer);
    RUN(a_sleeping_consumer_is_woken_in_time);
    RUN(a_producer_waits_for_a_slow_consumer);
    RUN(a_dead_consumer_is_waited_for_once);
    RUN(misses_cross_threads_in_order);
    RUN(a_full_miss_ring_says_so);
    RUN(folding_adds_up_per_key);
    return harness_report();
}
