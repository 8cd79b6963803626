/* UDP requests that only a slower tier can answer, parked from one lane for the main thread.
 * One producer, one consumer; bounded: a full ring is answered `unavailable`. */
#ifndef BEAST_MISS_RING_H
#define BEAST_MISS_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sizes.h"
#include "status.h"

typedef struct beast_miss {
    int64_t received_ns;  /* CLOCK_MONOTONIC of its batch */
    int64_t deadline_ns;  /* CLOCK_MONOTONIC: after this the client is told `stale` or `unknown_asset` */
    uint32_t lane;        /* whose socket the answer leaves by */
    uint32_t key_number;  /* already admitted */
    socklen_t peer_len;
    struct sockaddr_storage peer;
    uint16_t len;
    uint8_t datagram[BEAST_DATAGRAM_MAX]; /* asked again, word for word, once the price is there */
} beast_miss;

typedef struct beast_miss_ring beast_miss_ring;

beast_miss_ring *beast_miss_ring_new(uint32_t capacity /* a power of two */);
void beast_miss_ring_free(beast_miss_ring *ring);
beast_miss *beast_miss_claim(beast_miss_ring *ring); /* NULL: full */
void beast_miss_publish(beast_miss_ring *ring);
bool beast_miss_take(beast_miss_ring *ring, beast_miss *out);

#endif
