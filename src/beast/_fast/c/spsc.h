/* The two ends of a ring with one producer and one consumer (Lamport 1977; each end keeps its last look at the
 * other's, so that a cache line crosses only when a ring seems full or empty). The records lie elsewhere. */
#ifndef BEAST_SPSC_H
#define BEAST_SPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sizes.h"

typedef struct beast_spsc {
    _Alignas(BEAST_CACHE_LINE) uint64_t claimed; /* producer: next record to write */
    uint64_t tail_seen;
    uint64_t capacity; /* a power of two */
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t head; /* records before it are the consumer's to read */
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t tail; /* records before it are the producer's to write again */
} beast_spsc;

static inline bool beast_spsc_init(beast_spsc *ring, uint64_t capacity)
{
    *ring = (beast_spsc){.capacity = capacity};
    return capacity > 0 && (capacity & (capacity - 1)) == 0;
}

/* Producer: where the consumer is now. */
static inline uint64_t beast_spsc_look(beast_spsc *ring)
{
    return ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
}

/* Producer: true when *at is free to be written; not visible before publishing. */
static inline bool beast_spsc_claim(beast_spsc *ring, uint64_t *at)
{
    if (ring->claimed - ring->tail_seen == ring->capacity) {
        if (ring->claimed - beast_spsc_look(ring) == ring->capacity)
            return false;
    }
    *at = ring->claimed++ & (ring->capacity - 1);
    return true;
}

/* Producer: everything claimed is written. */
static inline void beast_spsc_publish(beast_spsc *ring)
{
    atomic_store_explicit(&ring->head, ring->claimed, memory_order_release);
}

/* Consumer: how many records wait, the first of them at *at. */
static inline uint64_t beast_spsc_waiting(const beast_spsc *ring, uint64_t *at)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    *at = tail & (ring->capacity - 1);
    return atomic_load_explicit(&ring->head, memory_order_acquire) - tail;
}

/* Consumer: the first `n` have been copied. */
static inline void beast_spsc_release(beast_spsc *ring, uint64_t n)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    atomic_store_explicit(&ring->tail, tail + n, memory_order_release);
}

/* Any thread: an estimate. */
static inline uint64_t beast_spsc_fill(const beast_spsc *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t fill = atomic_load_explicit(&ring->head, memory_order_relaxed) - tail;
    return fill < ring->capacity ? fill : ring->capacity;
}

#endif
