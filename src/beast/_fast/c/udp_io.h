/* Datagrams in, datagrams out, many a system call. All memory is here, made once a thread; nothing allocates.
 *
 * Where the kernel can, one message carries several datagrams of one peer: UDP_GRO hands them over together, to be
 * cut at the length it tells, and UDP_SEGMENT cuts what is sent (Linux: udp(7)). */
#ifndef BEAST_UDP_IO_H
#define BEAST_UDP_IO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "flight.h"
#include "status.h"

typedef union beast_peer {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} beast_peer;

/* The kernel zeroes what it doesn't use of an address, so that equal peers are equal words. */
static inline bool beast_same_peer(const beast_peer *a, const beast_peer *b)
{
    if (a->any.sa_family == AF_INET)
        return memcmp(a, b, offsetof(struct sockaddr_in, sin_zero)) == 0;
    return memcmp(a, b, sizeof *a) == 0;
}

/* ---- the socket ---- */

/* What the kernel gave. */
typedef struct beast_udp_features {
    uint32_t buffer; /* receive buffer in bytes as the kernel counts it for the asker: half of what it reserves */
    bool gro;        /* UDP_GRO: received datagrams come merged */
    bool segment;    /* UDP_SEGMENT: merged datagrams can be sent */
} beast_udp_features;

/* A bound, blocking socket with a receive time-out of 100 ms, or -1 and errno. The first socket of a port takes it
 * for itself alone, so that two servers can't share one unawares, and then lets `first == false` ones join. It never
 * sends fragments. */
int beast_udp_open(const struct sockaddr *address, socklen_t len, bool first, uint32_t buffer,
                   beast_udp_features *features);
/* From now on nothing new is queued; what is queued stays readable, and an empty queue shows at once. */
beast_status beast_udp_refuse(int fd);
/* From now on, or no longer, every message received tells when the kernel had it (SO_TIMESTAMPNS). */
void beast_udp_stamp(int fd, bool on);

/* ---- receiving ---- */

#define BEAST_MESSAGE_MAX 65536 /* merged or not */
/* Rows of messages begin at different places of a cache, not at the same of each. */
#define BEAST_MESSAGE_ROW (BEAST_MESSAGE_MAX + 5 * BEAST_CACHE_LINE)
#define BEAST_RECEIVE_CONTROL                                                                     \
    (CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(int)))

/* Where taking goes on, in registers while a batch is taken. */
typedef struct beast_incoming_cursor {
    uint32_t left, at, offset;
} beast_incoming_cursor;

typedef struct beast_incoming {
    struct mmsghdr head[BEAST_RECEIVE_MAX];
    struct iovec part[BEAST_RECEIVE_MAX];
    beast_peer peer[BEAST_RECEIVE_MAX];
    uint32_t cut[BEAST_RECEIVE_MAX];     /* the length of each datagram in a message, but for a shorter last one */
    int64_t stamp_ns[BEAST_RECEIVE_MAX]; /* CLOCK_REALTIME when the kernel had the message; 0: not told */
    _Alignas(struct cmsghdr) uint8_t control[BEAST_RECEIVE_MAX][BEAST_RECEIVE_CONTROL];
    uint32_t drops_seen;           /* the socket's own count, as it was last told */
    /* How far beast_incoming_take has come. */
    uint32_t count;
    beast_incoming_cursor cursor;
    uint32_t peers; /* how many different ones there are */
    uint8_t next[BEAST_RECEIVE_MAX];  /* message */
    uint8_t first[BEAST_RECEIVE_MAX]; /* message of the same peer */
    /* Eight megabytes, of which the pages come that messages have reached: one each, but for merged ones. */
    _Alignas(BEAST_CACHE_LINE) uint8_t bytes[BEAST_RECEIVE_MAX][BEAST_MESSAGE_ROW];
} beast_incoming;

typedef struct beast_datagram {
    const uint8_t *bytes;
    const beast_peer *peer;
    uint32_t len;
} beast_datagram;

/* `in` is zeroed memory. */
void beast_incoming_init(beast_incoming *in);
/* Puts a message where a receive would have, and makes `count` of them ready to be taken. */
void beast_incoming_put(beast_incoming *in, uint32_t at, const uint8_t *bytes, size_t len, const struct sockaddr *peer);
void beast_incoming_begin(beast_incoming *in, uint32_t count);

/* Waits for one message and takes what else is there: BEAST_BATCH at most, or BEAST_RECEIVE_MAX where peers repeat among
 * those, so that more answers can be merged. With MSG_DONTWAIT in `flags` it doesn't wait. Returns how many messages; 0
 * after the time-out. *drops grows by what the kernel had to drop since it last told. */
uint32_t beast_udp_receive(int fd, beast_incoming *in, int flags, uint64_t *drops);

/* The next datagram of what was received; false: there is none. All messages of one peer follow its first, and one peer
 * is one pointer: answers to it in a row are what can be merged. */
static inline bool beast_incoming_next(beast_incoming *in, beast_incoming_cursor *cursor, beast_datagram *out)
{
    if (cursor->left == 0)
        return false;
    uint32_t i = cursor->at, left = in->head[i].msg_len - cursor->offset, cut = in->cut[i];
    out->bytes = (const uint8_t *)in->part[i].iov_base + cursor->offset;
    out->peer = &in->peer[in->first[i]];
    if (__builtin_expect(left > cut, 0)) {
        out->len = cut;
        cursor->offset += cut;
        return true;
    }
    out->len = left;
    *cursor = (beast_incoming_cursor){cursor->left - 1, in->next[i], 0};
    return true;
}

/* At most BEAST_BATCH of them; returns how many. */
uint32_t beast_incoming_take(beast_incoming *in, beast_datagram out[BEAST_BATCH]);

/* ---- sending ---- */

#define BEAST_DATAGRAM_ROOM 1472 /* the longest answer, and the slack that writing it may need */
#define BEAST_SEND_ROOM 65536    /* of all datagrams that wait to be sent */

typedef struct beast_segment_size { /* a control message: how long each datagram of a merged message is */
    _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
} beast_segment_size;

/* Some datagrams end an answer that has a usage record: `records` counts these. */
typedef struct beast_outgoing {
    uint32_t count;   /* messages */
    uint32_t at;      /* the first that waits to be sent */
    uint32_t records; /* of all that wait */
    uint32_t polls;   /* how often a full buffer may still be waited for */
    bool merges;      /* the socket can */
    bool apart;       /* message `at` goes datagram by datagram: the kernel refused it as a whole */
    const beast_peer *open; /* whom the last message is for, if it can take one more datagram; else NULL */
    uint8_t *end;     /* where the next datagram is to be written: right behind the last */
    beast_flight *flight; /* the messages, and which of their datagrams have a record, the first one by the lowest bit */
    struct iovec part[BEAST_BATCH];
    struct iovec piece; /* the spare message's */
    uint16_t datagrams[BEAST_BATCH]; /* in each message */
    uint16_t cut[BEAST_BATCH];       /* as in beast_incoming */
    beast_segment_size control[BEAST_BATCH];
    _Alignas(BEAST_CACHE_LINE) uint8_t bytes[BEAST_SEND_ROOM];
} beast_outgoing;

void beast_outgoing_init(beast_outgoing *out, bool merges, beast_flight *flight);

/* False: send first. */
static inline bool beast_outgoing_has_room(const beast_outgoing *out)
{
    return out->count < BEAST_BATCH && out->end <= out->bytes + BEAST_SEND_ROOM - BEAST_DATAGRAM_ROOM;
}

/* One more datagram of the last message. */
void beast_outgoing_merge(beast_outgoing *out, uint32_t len, bool recorded);

/* `len` bytes were written at out->end, for `peer`, which must stay where it is until they are sent. What is for the
 * same pointer as the one before may be merged with it. `recorded`: with it an answer ends that has a usage record. */
static inline void beast_outgoing_add(beast_outgoing *out, const beast_peer *peer, uint32_t len, bool recorded)
{
    uint32_t at = out->count;

    out->records += recorded;
    if (out->open == peer && len <= out->cut[at - 1]) {
        beast_outgoing_merge(out, len, recorded);
        return;
    }
    struct mmsghdr *message = &out->flight->message[at];
    message->msg_len = 0; /* until the kernel says otherwise */
    message->msg_hdr.msg_name = (void *)peer;
    message->msg_hdr.msg_namelen = sizeof peer->v4;
    if (__builtin_expect(peer->any.sa_family != AF_INET, 0))
        message->msg_hdr.msg_namelen = sizeof peer->v6;
    message->msg_hdr.msg_controllen = 0; /* what msg_control points to is for merged ones */
    out->flight->recorded[at] = recorded;
    out->part[at] = (struct iovec){.iov_base = out->end, .iov_len = len};
    out->datagrams[at] = 1;
    out->cut[at] = (uint16_t)len;
    out->count = at + 1;
    out->open = out->merges ? peer : NULL;
    out->end += len;
}

/* What one system call has done to the first datagrams that wait. They wait no longer, unless it is LATER. */
typedef enum beast_send_result {
    BEAST_SEND_TAKEN,   /* the kernel has them; perhaps none, and it goes on in another way */
    BEAST_SEND_LATER,   /* the buffer is full: beast_udp_wait */
    BEAST_SEND_REFUSED, /* a bad address, no way out, or full for too long */
} beast_send_result;

typedef struct beast_send_step {
    uint32_t datagrams, records;
} beast_send_step;

static inline bool beast_outgoing_waits(const beast_outgoing *out)
{
    return out->at < out->count;
}

/* While something waits: makes ready what the next step will send, and names it. */
beast_flight_word beast_outgoing_ready(beast_outgoing *out);
/* Then one system call. A merged message that the kernel refuses goes datagram by datagram from then
 * on. */
beast_send_result beast_udp_send_step(int fd, beast_outgoing *out, beast_send_step *step);
void beast_udp_wait(int fd); /* for room in the buffer, a bounded time */
/* All is sent or refused: the room is free again. */
void beast_outgoing_clear(beast_outgoing *out);

#endif
