/* One fixed record per answered request, from one lane to the drainer. One producer, one consumer.
 * The producer writes with ordinary stores and publishes its head once a batch. When the ring is half full it
 * wakes the consumer, at most once for as many records as half the ring holds. */
#ifndef BEAST_USAGE_RING_H
#define BEAST_USAGE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sizes.h"
#include "status.h"
#include "usage_record.h"

typedef struct beast_usage_ring beast_usage_ring;

beast_usage_ring *beast_usage_ring_new(uint32_t capacity /* a power of two */);
void beast_usage_ring_free(beast_usage_ring *ring);
/* Producer: the next free record, or NULL when the ring is full (count it); not visible before publish. */
beast_usage *beast_usage_claim(beast_usage_ring *ring);
/* What was claimed is the consumer's to read. `wake_fd` is an eventfd, or -1. */
void beast_usage_publish(beast_usage_ring *ring, int wake_fd);
/* Consumer: copies out up to `max` records that it has not read before, in order; returns how many. Their places are
 * held until it releases them: the oldest `n` of those held. */
uint32_t beast_usage_read(beast_usage_ring *ring, beast_usage *out, uint32_t max);
void beast_usage_release(beast_usage_ring *ring, uint32_t n);
uint32_t beast_usage_held(const beast_usage_ring *ring);
/* Reads and releases. */
static inline uint32_t beast_usage_take(beast_usage_ring *ring, beast_usage *out, uint32_t max)
{
    uint32_t n = beast_usage_read(ring, out, max);
    beast_usage_release(ring, n);
    return n;
}
uint32_t beast_usage_fill(const beast_usage_ring *ring); /* any thread, an estimate */

#endif
