/* Received messages of any peers, lengths and cuts: what is taken from them is every byte once, in order, cut as the
 * kernel said, peer by peer in the order in which peers first appear.
 *
 * Five bytes make a message: its peer, its length, the length at which it is to be cut. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "udp_io.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

#define RECORD 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t number_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

/* Few peers, which differ in port, address or family. */
static beast_peer peer_of(uint8_t number)
{
    beast_peer peer;
    memset(&peer, 0, sizeof peer);
    if (number & 1) {
        peer.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(number >> 4), .sin_addr.s_addr = number >> 1 & 3};
    } else {
        peer.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(number >> 4)};
        peer.v6.sin6_addr.s6_addr[number & 2 ? 15 : 7] = number >> 2 & 3;
    }
    return peer;
}

static uint32_t fill(beast_incoming *in, const uint8_t *data, size_t size)
{
    static uint8_t bytes[BEAST_MESSAGE_MAX];
    uint32_t count = 0;
    for (; count < BEAST_RECEIVE_MAX && size >= RECORD; count++, data += RECORD, size -= RECORD) {
        beast_peer peer = peer_of(data[0]);
        uint32_t len = number_at(data + 1), cut = number_at(data + 3);
        beast_incoming_put(in, count, bytes, len, &peer.any);
        if (cut)
            in->cut[count] = cut;
    }
    beast_incoming_begin(in, count);
    return count;
}

/* How far the messages have been taken. */
typedef struct progress {
    uint32_t offset[BEAST_RECEIVE_MAX];
    bool whole[BEAST_RECEIVE_MAX];
    int32_t message; /* the last one looked at; -1: none */
} progress;

/* The message that comes after the last one: the peer's next, or else the first that is left. */
static int32_t message_after(const beast_incoming *in, uint32_t count, const progress *done)
{
    for (uint32_t i = 0; done->message >= 0 && i < count; i++)
        if (!done->whole[i] && beast_same_peer(&in->peer[i], &in->peer[done->message]))
            return (int32_t)i;
    for (uint32_t i = 0; i < count; i++)
        if (!done->whole[i])
            return (int32_t)i;
    return -1;
}

static void check(const beast_incoming *in, uint32_t count, const beast_datagram *datagram, progress *done)
{
    if (done->message < 0 || done->whole[done->message])
        done->message = message_after(in, count, done);
    MUST(done->message >= 0);
    uint32_t i = (uint32_t)done->message, left = in->head[i].msg_len - done->offset[i];
    MUST(datagram->bytes == in->bytes[i] + done->offset[i]);
    MUST(datagram->len == (left < in->cut[i] ? left : in->cut[i]));
    MUST(beast_same_peer(datagram->peer, &in->peer[i]));
    done->offset[i] += datagram->len;
    done->whole[i] = datagram->len == left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_incoming *in;
    beast_datagram taken[BEAST_BATCH];
    progress done = {.message = -1};
    uint32_t n;
    if (!in) {
        MUST(in = aligned_alloc(BEAST_CACHE_LINE, sizeof *in));
        beast_incoming_init(in);
    }
    uint32_t count = fill(in, data, size);
    do {
        n = beast_incoming_take(in, taken);
        MUST(n <= BEAST_BATCH);
        for (uint32_t i = 0; i < n; i++) {
            check(in, count, &taken[i], &done);
            MUST(i == 0 || (taken[i].peer == taken[i - 1].peer) == beast_same_peer(taken[i].peer, taken[i - 1].peer));
        }
    } while (n == BEAST_BATCH);
    MUST(beast_incoming_take(in, taken) == 0);
    for (uint32_t i = 0; i < count; i++)
        MUST(done.whole[i]);
    return 0;
}
