/* One fixed record per answered request, from one lane to the drainer. One producer, one consumer.
 *
 * The producer claims records with ordinary stores. It says when a system call begins that sends answers, and when the
 * kernel has them it publishes their records; a killed process leaves both behind where the ring lies in a file. What
 * could not be sent is taken back. When the ring is half full the producer wakes the consumer, at most once
 * for as many records as half the ring holds. */
#ifndef BEAST_USAGE_RING_H
#define BEAST_USAGE_RING_H

#include <stdbool.h>

#include "usage_file.h"

typedef struct beast_usage_ring beast_usage_ring;

/* As beast_usage_file_open; NULL with errno: EINVAL, ENOMEM, or what the system said. */
beast_usage_ring *beast_usage_ring_open(const char *folder, int64_t boot, uint32_t lane, uint32_t capacity);
beast_usage_ring *beast_usage_ring_new(uint32_t capacity); /* without a file */
void beast_usage_ring_free(beast_usage_ring *ring);
void beast_usage_ring_abandon(beast_usage_ring *ring); /* as beast_usage_file_abandon */

/* Whether anybody could look at it after a crash. */
bool beast_usage_outlives(const beast_usage_ring *ring);

/* ---- producer ---- */

/* So much of a ring is free when a round of answers begins, unless its consumer stands still. */
#define BEAST_USAGE_ROOM(capacity) ((capacity) / 4)
#define BEAST_USAGE_PATIENCE_NS INT64_C(1000000000)

/* CLOCK_MONOTONIC when the requests came whose records are claimed from now on. */
void beast_usage_received(beast_usage_ring *ring, int64_t now_ns);
/* The next record, numbered, or NULL when the ring is full: then count it, and say that it is lost. */
beast_usage *beast_usage_claim(beast_usage_ring *ring);
/* The last one claimed was not needed. */
void beast_usage_unclaim(beast_usage_ring *ring);
void beast_usage_lose(beast_usage_ring *ring);
/* One that was taken back and kept, under a new number; false: full. */
bool beast_usage_claim_again(beast_usage_ring *ring, const beast_usage *kept);
/* Claimed and neither published nor taken back, the oldest first. */
uint32_t beast_usage_unsent(const beast_usage_ring *ring);
beast_usage *beast_usage_at(beast_usage_ring *ring, uint32_t i);
/* Where what is sent is made ready: in the ring's file. */
beast_flight *beast_usage_flight(beast_usage_ring *ring);
/* The system call begins that may take the first of them along, as the flight tells; 0: it has taken none. */
void beast_usage_sending(beast_usage_ring *ring, beast_flight_word word);
/* It has taken the first `n`: they are the consumer's. `now_ns` tells how long their answers took; 0: nobody knows. */
void beast_usage_sent(beast_usage_ring *ring, uint32_t n, int64_t now_ns);
/* The first `n` of them never were: those behind move up and are numbered anew. */
void beast_usage_drop(beast_usage_ring *ring, uint32_t n);
/* Once a batch. `wake_fd` is an eventfd, or -1. */
void beast_usage_wake(beast_usage_ring *ring, int wake_fd);

/* Between two rounds: waits until there is BEAST_USAGE_ROOM. Requests wait in the kernel meanwhile, and the consumer has
 * this processor; an answer without a record is worse than a late one. One that gets nowhere within `patience_ns` is not
 * waited for again until it does. Returns whether it has waited. */
bool beast_usage_pace(beast_usage_ring *ring, int64_t patience_ns);

/* ---- consumer ---- */

/* Copies out up to `max` records that it has not read before, in order; returns how many. Their places are held until
 * it releases them: the oldest `n` of those held. */
uint32_t beast_usage_read(beast_usage_ring *ring, beast_usage *out, uint32_t max);
void beast_usage_release(beast_usage_ring *ring, uint32_t n);
uint32_t beast_usage_held(const beast_usage_ring *ring);
uint32_t beast_usage_fill(const beast_usage_ring *ring); /* any thread, an estimate */

/* Reads and releases. */
static inline uint32_t beast_usage_take(beast_usage_ring *ring, beast_usage *out, uint32_t max)
{
    uint32_t n = beast_usage_read(ring, out, max);
    beast_usage_release(ring, n);
    return n;
}

#endif
