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

typedef enum beast_protocol { BEAST_PROTOCOL_UDP, BEAST_PROTOCOL_HTTP, BEAST_PROTOCOL_ASGI } beast_protocol;

typedef struct beast_usage { /* 48 bytes */
    int64_t time_ns;     /* CLOCK_REALTIME when the batch was received */
    uint64_t sequence;   /* of this lane, from 1, without a gap unless usage_lost counts it */
    uint64_t key_id;     /* api_keys.id */
    uint32_t key_number; /* place in the key table */
    uint32_t instrument; /* of the price; of the first one, when several were asked */
    uint32_t age_ms;     /* of that price, capped */
    uint32_t latency_ns; /* receive to answer, capped; 0: not measured */
    uint8_t state, tier, protocol, lane;
    uint16_t prices;     /* how many prices the answer held */
    uint16_t reserved;
} beast_usage;

typedef struct beast_usage_ring beast_usage_ring;

beast_usage_ring *beast_usage_ring_new(uint32_t capacity /* a power of two */);
void beast_usage_ring_free(beast_usage_ring *ring);
/* Producer: the next free record, or NULL when the ring is full (count it); not visible before publish. */
beast_usage *beast_usage_claim(beast_usage_ring *ring);
/* What was claimed is the consumer's to read. `wake_fd` is an eventfd, or -1. */
void beast_usage_publish(beast_usage_ring *ring, int wake_fd);
/* Consumer: copies up to `max` records out, in order; returns how many. */
uint32_t beast_usage_drain(beast_usage_ring *ring, beast_usage *out, uint32_t max);
uint32_t beast_usage_fill(const beast_usage_ring *ring); /* any thread, an estimate */

/* Adds up answers per key: writes (key_id, count) pairs to the two arrays, each `n` long; returns how many
 * pairs. The order of `records` is kept; allocates nothing. */
uint32_t beast_usage_fold(const beast_usage *records, uint32_t n, uint64_t *key_ids, uint64_t *counts);

#endif
