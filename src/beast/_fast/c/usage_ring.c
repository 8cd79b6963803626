#include "usage_ring.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spsc.h"

struct beast_usage_ring {
    beast_spsc ends;
    uint64_t wake_at; /* producer: once so many are claimed the ring may be half full */
    uint64_t taken;   /* consumer: records before it have been read */
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
        ring->wake_at = capacity / 2, ring->taken = 0;
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

uint32_t beast_usage_read(beast_usage_ring *ring, beast_usage *out, uint32_t max)
{
    uint64_t at = ring->taken & (ring->ends.capacity - 1);
    uint64_t waiting = atomic_load_explicit(&ring->ends.head, memory_order_acquire) - ring->taken;
    uint64_t n = waiting < max ? waiting : max;
    uint64_t to_end = ring->ends.capacity - at;
    uint64_t first = n < to_end ? n : to_end;
    memcpy(out, ring->record + at, first * sizeof *out);
    memcpy(out + first, ring->record, (n - first) * sizeof *out);
    ring->taken += n;
    return (uint32_t)n;
}

uint32_t beast_usage_held(const beast_usage_ring *ring)
{
    return (uint32_t)(ring->taken - atomic_load_explicit(&ring->ends.tail, memory_order_relaxed));
}

void beast_usage_release(beast_usage_ring *ring, uint32_t n) { beast_spsc_release(&ring->ends, n); }

uint32_t beast_usage_fill(const beast_usage_ring *ring) { return (uint32_t)beast_spsc_fill(&ring->ends); }
