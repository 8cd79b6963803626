#include "handover.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sizes.h"

/* Head and tail count what was ever given and taken; each has its own cache line and one writer. */
struct beast_handover_ring {
    uint32_t mask;
    beast_handover *slots;
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t head;
    _Alignas(BEAST_CACHE_LINE) _Atomic uint32_t tail;
};

beast_handover_ring *beast_handover_ring_new(uint32_t capacity)
{
    if (capacity == 0 || (capacity & (capacity - 1)) != 0)
        return NULL;
    beast_handover_ring *ring = aligned_alloc(BEAST_CACHE_LINE, sizeof *ring);
    beast_handover *slots = calloc(capacity, sizeof *slots);
    if (!ring || !slots) {
        free(ring);
        free(slots);
        return NULL;
    }
    ring->mask = capacity - 1;
    ring->slots = slots;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    return ring;
}

void beast_handover_ring_free(beast_handover_ring *ring)
{
    beast_handover left;
    if (!ring)
        return;
    while (beast_handover_take(ring, &left)) {
        close(left.fd);
        free(left.bytes);
    }
    free(ring->slots);
    free(ring);
}

beast_status beast_handover_give(beast_handover_ring *ring, int fd, const uint8_t *bytes, size_t len, int wake_fd)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint8_t *copy = NULL;
    if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) > ring->mask)
        return BEAST_FULL;
    if (len > UINT32_MAX)
        return BEAST_BAD_ARGUMENT;
    if (len > 0) {
        copy = malloc(len);
        if (!copy)
            return BEAST_NO_MEMORY;
        memcpy(copy, bytes, len);
    }
    ring->slots[head & ring->mask] = (beast_handover){.fd = fd, .len = (uint32_t)len, .bytes = copy};
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    /* It can only fail when the eventfd's count is full: then the taker has been woken long since. */
    uint64_t one = 1;
    ssize_t ignored = write(wake_fd, &one, sizeof one);
    (void)ignored;
    return BEAST_OK;
}

bool beast_handover_take(beast_handover_ring *ring, beast_handover *out)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&ring->head, memory_order_acquire))
        return false;
    *out = ring->slots[tail & ring->mask];
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}
