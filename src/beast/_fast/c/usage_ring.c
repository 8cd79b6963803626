#include "usage_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spsc.h"

static_assert(sizeof(beast_usage) == 48, "a usage record is 48 bytes: the drainer's packed format");

struct beast_usage_ring {
    beast_spsc ends;
    uint64_t wake_at; /* producer: once so many are claimed the ring may be half full */
    beast_usage record[];
};

beast_usage_ring *beast_usage_ring_new(uint32_t capacity)
{
    size_t size = sizeof(beast_usage_ring) + capacity * sizeof(beast_usage);
    beast_usage_ring *ring = aligned_alloc(_Alignof(beast_usage_ring), (size + 63) & ~(size_t)63);
    if (ring && !beast_spsc_init(&ring->ends, capacity)) {
        free(ring);
        return NULL;
    }
    if (ring)
        ring->wake_at = capacity / 2;
    return ring;
}

void beast_usage_ring_free(beast_usage_ring *ring) { free(ring); }

beast_usage *beast_usage_claim(beast_usage_ring *ring)
{
    uint64_t at;
    return beast_spsc_claim(&ring->ends, &at) ? &ring->record[at] : NULL;
}

/* Off the hot path: until now the ring could not be half full, wherever the consumer was. */
static void __attribute__((noinline)) look_at_fill(beast_usage_ring *ring, int wake_fd)
{
    uint64_t half = ring->ends.capacity / 2, one = 1;
    ring->wake_at = beast_spsc_look(&ring->ends) + half;
    if (ring->ends.claimed < ring->wake_at)
        return;
    ring->wake_at = ring->ends.claimed + half;
    /* It can only fail when the eventfd's count is full: then the consumer has been woken long since. */
    ssize_t ignored = write(wake_fd, &one, sizeof one);
    (void)ignored;
}

void beast_usage_publish(beast_usage_ring *ring, int wake_fd)
{
    beast_spsc_publish(&ring->ends);
    if (ring->ends.claimed >= ring->wake_at)
        look_at_fill(ring, wake_fd);
}

uint32_t beast_usage_drain(beast_usage_ring *ring, beast_usage *out, uint32_t max)
{
    uint64_t at, waiting = beast_spsc_waiting(&ring->ends, &at);
    uint64_t n = waiting < max ? waiting : max;
    uint64_t to_end = ring->ends.capacity - at;
    uint64_t first = n < to_end ? n : to_end;
    memcpy(out, ring->record + at, first * sizeof *out);
    memcpy(out + first, ring->record, (n - first) * sizeof *out);
    beast_spsc_release(&ring->ends, n);
    return (uint32_t)n;
}

uint32_t beast_usage_fill(const beast_usage_ring *ring) { return (uint32_t)beast_spsc_fill(&ring->ends); }

uint32_t beast_usage_fold(const beast_usage *records, uint32_t n, uint64_t *key_ids, uint64_t *counts)
{
    /* The two arrays are an open-addressing table of n places until all records are in: there is room for n keys. */
    memset(counts, 0, n * sizeof *counts);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = records[i].key_id;
        uint64_t spread = id * UINT64_C(0x9E3779B97F4A7C15) >> 32;
        uint32_t at = (uint32_t)(spread * n >> 32);
        while (counts[at] != 0 && key_ids[at] != id)
            at = at + 1 < n ? at + 1 : 0;
        key_ids[at] = id;
        counts[at]++;
    }
    uint32_t pairs = 0;
    for (uint32_t at = 0; at < n; at++) {
        if (counts[at] == 0)
            continue;
        key_ids[pairs] = key_ids[at];
        counts[pairs++] = counts[at];
    }
    return pairs;
}
