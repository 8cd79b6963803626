#include "usage_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define NAP_NS 200000

struct beast_usage_ring {
    /* The producer's own. */
    _Alignas(BEAST_CACHE_LINE) uint64_t claimed;
    uint64_t published;
    uint64_t tail_seen; /* its last look at the consumer's end */
    uint64_t sequence;  /* of the last one claimed or lost */
    int64_t received_ns;
    uint64_t wake_at; /* once so many are claimed the ring may be half full */
    uint64_t stuck_at; /* where the consumer was when waiting for it was given up */
    /* Constant. */
    _Alignas(BEAST_CACHE_LINE) beast_usage_page *page;
    beast_usage *record;
    uint64_t capacity;
    beast_usage_file file;
    /* The consumer's own. */
    _Alignas(BEAST_CACHE_LINE) uint64_t taken; /* records before it have been read */
};

beast_usage_ring *beast_usage_ring_open(const char *folder, int64_t boot, uint32_t lane, uint32_t capacity)
{
    beast_usage_ring *ring = aligned_alloc(_Alignof(beast_usage_ring), sizeof *ring);
    if (!ring)
        return NULL;
    *ring = (beast_usage_ring){.capacity = capacity, .wake_at = capacity / 2, .stuck_at = UINT64_MAX};
    beast_status status = beast_usage_file_open(&ring->file, folder, boot, lane, capacity);
    if (status == BEAST_OK) {
        ring->page = ring->file.page;
        ring->record = ring->file.record;
        return ring;
    }
    int error = status == BEAST_SYSTEM ? errno : status == BEAST_NO_MEMORY ? ENOMEM : EINVAL;
    free(ring);
    errno = error;
    return NULL;
}

beast_usage_ring *beast_usage_ring_new(uint32_t capacity) { return beast_usage_ring_open(NULL, 0, 0, capacity); }

void beast_usage_ring_free(beast_usage_ring *ring)
{
    if (!ring)
        return;
    beast_usage_file_close(&ring->file, ring->claimed);
    free(ring);
}

bool beast_usage_outlives(const beast_usage_ring *ring) { return ring->file.fd >= 0; }

void beast_usage_ring_abandon(beast_usage_ring *ring) { beast_usage_file_abandon(&ring->file); }

/* ---- producer ---- */

static inline beast_usage *at(beast_usage_ring *ring, uint64_t place)
{
    return &ring->record[place & (ring->capacity - 1)];
}

static inline uint64_t look_at_tail(beast_usage_ring *ring)
{
    return ring->tail_seen = atomic_load_explicit(&ring->page->tail, memory_order_acquire);
}

void beast_usage_received(beast_usage_ring *ring, int64_t now_ns) { ring->received_ns = now_ns; }

beast_usage *beast_usage_claim(beast_usage_ring *ring)
{
    if (ring->claimed - ring->tail_seen == ring->capacity && ring->claimed - look_at_tail(ring) == ring->capacity)
        return NULL;
    beast_usage *record = at(ring, ring->claimed++);
    record->sequence = ++ring->sequence;
    return record;
}

void beast_usage_unclaim(beast_usage_ring *ring)
{
    ring->claimed--;
    ring->sequence--;
}

bool beast_usage_claim_again(beast_usage_ring *ring, const beast_usage *kept)
{
    beast_usage *record = beast_usage_claim(ring);
    if (!record)
        return false;
    uint64_t sequence = record->sequence;
    *record = *kept;
    record->sequence = sequence;
    return true;
}

void beast_usage_lose(beast_usage_ring *ring) { ring->sequence++; }

uint32_t beast_usage_unsent(const beast_usage_ring *ring) { return (uint32_t)(ring->claimed - ring->published); }

beast_usage *beast_usage_at(beast_usage_ring *ring, uint32_t i) { return at(ring, ring->published + i); }

beast_flight *beast_usage_flight(beast_usage_ring *ring) { return &ring->page->flight; }

/* Whoever looks after a crash sees what this thread did in the order of its program: only the compiler must keep it. */
static inline void in_this_order(void) { atomic_signal_fence(memory_order_seq_cst); }

void beast_usage_sending(beast_usage_ring *ring, beast_flight_word word)
{
    in_this_order(); /* records and messages first */
    atomic_store_explicit(&ring->page->from, ring->published, memory_order_relaxed);
    in_this_order();
    atomic_store_explicit(&ring->page->sending, word, memory_order_relaxed);
    in_this_order(); /* then the system call */
}

static inline uint32_t duration(int64_t from_ns, int64_t to_ns)
{
    int64_t ns = to_ns > from_ns ? to_ns - from_ns : 0;
    return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

void beast_usage_sent(beast_usage_ring *ring, uint32_t n, int64_t now_ns)
{
    uint32_t latency_ns = duration(ring->received_ns, now_ns);
    uint64_t end = ring->published + n;

    for (uint64_t place = ring->published; place < end;) {
        beast_usage *record = at(ring, place);
        uint64_t left = end - place, to_end = (uint64_t)(ring->record + ring->capacity - record);
        const beast_usage *stop = record + (left < to_end ? left : to_end);
        place += (uint64_t)(stop - record);
        for (; record < stop; record++) {
            record->key_number = 0;
            record->latency_ns = latency_ns;
        }
    }
    ring->published = end;
    /* While both are told, they tell the same: the flight's records end where the head is. */
    atomic_store_explicit(&ring->page->head, end, memory_order_release);
    in_this_order();
    atomic_store_explicit(&ring->page->sending, 0, memory_order_relaxed);
    in_this_order();
}

void beast_usage_drop(beast_usage_ring *ring, uint32_t n)
{
    beast_usage_sending(ring, 0);
    ring->claimed -= n;
    ring->sequence -= n;
    for (uint64_t place = ring->published; place < ring->claimed; place++) {
        *at(ring, place) = *at(ring, place + n);
        at(ring, place)->sequence -= n;
    }
}

/* Off the hot path: until now the ring could not be half full, wherever the consumer was. */
static void __attribute__((noinline)) look_at_fill(beast_usage_ring *ring, int wake_fd)
{
    uint64_t half = ring->capacity / 2, one = 1;
    ring->wake_at = look_at_tail(ring) + half;
    if (ring->claimed < ring->wake_at)
        return;
    ring->wake_at = ring->claimed + half;
    /* It can only fail when the eventfd's count is full: then the consumer has been woken long since. */
    ssize_t ignored = write(wake_fd, &one, sizeof one);
    (void)ignored;
}

void beast_usage_wake(beast_usage_ring *ring, int wake_fd)
{
    if (ring->claimed >= ring->wake_at)
        look_at_fill(ring, wake_fd);
}

static bool is_tight(const beast_usage_ring *ring)
{
    return ring->claimed - ring->tail_seen > ring->capacity - BEAST_USAGE_ROOM(ring->capacity);
}

/* Off the hot path: the ring was too full when the consumer was last looked at. */
static bool __attribute__((noinline)) wait_for_room(beast_usage_ring *ring, int64_t patience_ns)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};

    look_at_tail(ring);
    if (!is_tight(ring) || ring->tail_seen == ring->stuck_at)
        return false;
    int64_t until_ns = beast_clock_ns(CLOCK_MONOTONIC) + patience_ns;
    do {
        nanosleep(&nap, NULL);
        look_at_tail(ring);
    } while (is_tight(ring) && beast_clock_ns(CLOCK_MONOTONIC) < until_ns);
    ring->stuck_at = is_tight(ring) ? ring->tail_seen : UINT64_MAX;
    return true;
}

bool beast_usage_pace(beast_usage_ring *ring, int64_t patience_ns)
{
    return is_tight(ring) && wait_for_room(ring, patience_ns);
}

/* ---- consumer ---- */

uint32_t beast_usage_read(beast_usage_ring *ring, beast_usage *out, uint32_t max)
{
    uint64_t waiting = atomic_load_explicit(&ring->page->head, memory_order_acquire) - ring->taken;
    uint64_t n = waiting < max ? waiting : max;
    uint64_t from = ring->taken & (ring->capacity - 1), to_end = ring->capacity - from;
    uint64_t first = n < to_end ? n : to_end;
    memcpy(out, ring->record + from, first * sizeof *out);
    memcpy(out + first, ring->record, (n - first) * sizeof *out);
    ring->taken += n;
    return (uint32_t)n;
}

uint32_t beast_usage_held(const beast_usage_ring *ring)
{
    return (uint32_t)(ring->taken - atomic_load_explicit(&ring->page->tail, memory_order_relaxed));
}

void beast_usage_release(beast_usage_ring *ring, uint32_t n)
{
    uint64_t tail = atomic_load_explicit(&ring->page->tail, memory_order_relaxed);
    atomic_store_explicit(&ring->page->tail, tail + n, memory_order_release);
}

uint32_t beast_usage_fill(const beast_usage_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->page->tail, memory_order_relaxed);
    uint64_t fill = atomic_load_explicit(&ring->page->head, memory_order_relaxed) - tail;
    return (uint32_t)(fill < ring->capacity ? fill : ring->capacity);
}
