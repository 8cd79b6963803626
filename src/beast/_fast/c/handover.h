/* Connections that the HTTP lane gives away, with the bytes it has read. One producer (the lane), one consumer
 * (the main thread). Giving one away is no hot path: it may allocate. */
#ifndef BEAST_HANDOVER_H
#define BEAST_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct beast_handover {
    int fd;          /* non-blocking, still open, now the taker's */
    uint32_t len;
    uint8_t *bytes;  /* malloc'ed, now the taker's; NULL when len is 0 */
} beast_handover;

typedef struct beast_handover_ring beast_handover_ring;

beast_handover_ring *beast_handover_ring_new(uint32_t capacity /* a power of two */);
/* Closes and frees whatever was never taken. */
void beast_handover_ring_free(beast_handover_ring *ring);
/* Copies the bytes; then wakes `wake_fd`. FULL or NO_MEMORY: the caller keeps (and closes) the socket. */
beast_status beast_handover_give(beast_handover_ring *ring, int fd, const uint8_t *bytes, size_t len, int wake_fd);
bool beast_handover_take(beast_handover_ring *ring, beast_handover *out);

#endif
