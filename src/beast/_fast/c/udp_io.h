/* A batch of datagrams in, a batch of datagrams out. All memory is here, made once a thread; nothing allocates. */
#ifndef BEAST_UDP_IO_H
#define BEAST_UDP_IO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sizes.h"
#include "status.h"

typedef union beast_peer {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} beast_peer;

/* One byte more than the longest request, so that a longer one shows; whole cache lines. */
#define BEAST_RECEIVE_SIZE 1280
#define BEAST_SEND_SIZE 1408

typedef struct beast_incoming {
    struct mmsghdr head[BEAST_BATCH];
    struct iovec part[BEAST_BATCH];
    beast_peer peer[BEAST_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[BEAST_BATCH][CMSG_SPACE(sizeof(uint32_t))];
    uint32_t drops_seen; /* the socket's own count, as it was last told */
    _Alignas(BEAST_CACHE_LINE) uint8_t bytes[BEAST_BATCH][BEAST_RECEIVE_SIZE];
} beast_incoming;

typedef struct beast_outgoing {
    uint32_t count;
    struct mmsghdr head[BEAST_BATCH];
    struct iovec part[BEAST_BATCH];
    _Alignas(BEAST_CACHE_LINE) uint8_t bytes[BEAST_BATCH][BEAST_SEND_SIZE];
} beast_outgoing;

/* A bound, blocking socket with a receive time-out of 100 ms, or -1 and errno. The first socket of a port takes it
 * for itself alone, so that two servers can't share one unawares, and then lets `first == false` ones join.
 * *granted is the receive buffer in bytes as the kernel counts it for the asker (half of what it reserves). */
int beast_udp_open(const struct sockaddr *address, socklen_t len, bool first, uint32_t buffer, uint32_t *granted);
/* From now on nothing new is queued; what is queued stays readable, and an empty queue shows at once. */
beast_status beast_udp_refuse(int fd);

void beast_incoming_init(beast_incoming *in);
void beast_outgoing_init(beast_outgoing *out);

/* Waits for one datagram and takes what else is there. Returns how many; 0 after the time-out. *drops grows by
 * what the kernel had to drop since it last told. A length above BEAST_DATAGRAM_MAX means too long, cut off. */
uint32_t beast_udp_receive(int fd, beast_incoming *in, uint64_t *drops);

/* Sends the batch and empties it: what the kernel would not take at first is tried again for a bounded time, a bad
 * address is skipped. Returns how many were sent; the rest is lost. */
uint32_t beast_udp_send(int fd, beast_outgoing *out);

/* The order in which to answer: as received, but all datagrams of one peer follow its first. Sends to one peer in
 * a row are what the kernel can merge. */
void beast_group_by_peer(const beast_incoming *in, uint32_t n, uint8_t order[BEAST_BATCH]);

#endif
