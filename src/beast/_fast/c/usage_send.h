/* Sends a piece of a stream so that a crash leaves behind how much of it the kernel has taken, and with it which usage
 * records count. */
#ifndef BEAST_USAGE_SEND_H
#define BEAST_USAGE_SEND_H

#include <sys/types.h>

#include "usage_ring.h"

/* As send with MSG_NOSIGNAL and `flags`. The first `owed` unsent records go along; where in the piece their answers end
 * stands in the ring's flight. Afterwards the caller says how many were sent, or takes them back. */
ssize_t beast_usage_send(beast_usage_ring *ring, int fd, uint8_t *bytes, uint32_t len, uint32_t owed, int flags);

#endif
