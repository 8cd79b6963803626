/* Receiving: messages of one or several datagrams, taken peer by peer. */
#include <netinet/udp.h>
#include <time.h>

#include "udp_io.h"

void beast_incoming_init(beast_incoming *in)
{
    for (uint32_t i = 0; i < BEAST_RECEIVE_MAX; i++) {
        in->part[i] = (struct iovec){.iov_base = in->bytes[i], .iov_len = BEAST_MESSAGE_MAX};
        in->head[i].msg_hdr = (struct msghdr){
            .msg_name = &in->peer[i],
            .msg_namelen = sizeof in->peer[i],
            .msg_iov = &in->part[i],
            .msg_iovlen = 1,
            .msg_control = in->control[i],
            .msg_controllen = sizeof in->control[i],
        };
    }
}

void beast_incoming_put(beast_incoming *in, uint32_t at, const uint8_t *bytes, size_t len, const struct sockaddr *peer)
{
    if (len > BEAST_MESSAGE_MAX)
        len = BEAST_MESSAGE_MAX;
    memcpy(in->bytes[at], bytes, len);
    memcpy(&in->peer[at], peer, peer->sa_family == AF_INET ? sizeof in->peer[at].v4 : sizeof in->peer[at].v6);
    in->head[at].msg_len = in->cut[at] = (uint32_t)len;
}

/* What the kernel tells besides: the length of merged datagrams, its count of drops, when it had the message. */
static void read_control(beast_incoming *in, uint32_t i, uint32_t *drops)
{
    struct msghdr *head = &in->head[i].msg_hdr;

    for (struct cmsghdr *control = CMSG_FIRSTHDR(head); control; control = CMSG_NXTHDR(head, control)) {
        const void *data = CMSG_DATA(control);
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
            int cut;
            memcpy(&cut, data, sizeof cut);
            if (cut > 0)
                in->cut[i] = (uint32_t)cut;
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            memcpy(drops, data, sizeof *drops);
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, data, sizeof at);
            in->stamp_ns[i] = at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
        }
    }
}

/* Of IPv4, the words that matter: equal tags are equal peers. */
static inline uint64_t peer_tag(const beast_peer *peer)
{
    uint64_t word[2];

    memcpy(word, peer, sizeof word[0]);
    if (peer->any.sa_family == AF_INET)
        return word[0];
    memcpy(word, &peer->v6.sin6_addr, sizeof word);
    return (word[0] * 0x9e3779b97f4a7c15u ^ word[1]) + peer->v6.sin6_port;
}

/* As received, but all messages of one peer follow its first, and name that one's address as theirs. */
static void group_by_peer(beast_incoming *in)
{
    enum { NONE = 0xff, PLACES = 2 * BEAST_RECEIVE_MAX };
    uint64_t tag[BEAST_RECEIVE_MAX];
    uint8_t first_at[PLACES], last[BEAST_RECEIVE_MAX], *next = in->next;
    uint8_t end = 0; /* of the list that `next` makes, from 0 on */
    uint32_t peers = 0;

    memset(first_at, NONE, sizeof first_at);
    for (uint32_t i = 0; i < in->count; i++) {
        tag[i] = peer_tag(&in->peer[i]);
        uint32_t place = (uint32_t)(tag[i] * 0x9e3779b97f4a7c15u >> 56), first;
        while ((first = first_at[place]) != NONE &&
               (tag[first] != tag[i] || !beast_same_peer(&in->peer[first], &in->peer[i])))
            place = (place + 1) % PLACES;
        if (first == NONE) {
            in->first[i] = first_at[place] = last[i] = (uint8_t)i;
            next[end] = (uint8_t)i;
            end = (uint8_t)i;
            peers++;
        } else {
            uint8_t before = last[first];
            in->first[i] = (uint8_t)first;
            last[first] = (uint8_t)i;
            next[i] = next[before];
            next[before] = (uint8_t)i;
            end = before == end ? (uint8_t)i : end;
        }
    }
    in->peers = peers;
}

void beast_incoming_begin(beast_incoming *in, uint32_t count)
{
    in->count = count;
    in->cursor = (beast_incoming_cursor){.left = count};
    group_by_peer(in);
}

/* Up to `n` messages more, to those that are there; the first may be waited for. */
static uint32_t receive(int fd, beast_incoming *in, uint32_t from, uint32_t n, int flags, uint64_t *drops)
{
    int got = recvmmsg(fd, in->head + from, n, flags | MSG_WAITFORONE, NULL);
    uint32_t drops_now = in->drops_seen;

    if (got <= 0)
        return from;
    for (uint32_t i = from; i < from + (uint32_t)got; i++) {
        in->cut[i] = in->head[i].msg_len;
        in->stamp_ns[i] = 0;
        if (in->head[i].msg_hdr.msg_controllen != 0)
            read_control(in, i, &drops_now);
        in->head[i].msg_hdr.msg_controllen = sizeof in->control[i]; /* the kernel wrote how much it used */
    }
    *drops += drops_now - in->drops_seen; /* modulo 2^32, as the kernel counts */
    in->drops_seen = drops_now;
    return from + (uint32_t)got;
}

uint32_t beast_udp_receive(int fd, beast_incoming *in, int flags, uint64_t *drops)
{
    uint32_t n = receive(fd, in, 0, BEAST_BATCH, flags, drops);

    if (n == 0)
        return 0;
    beast_incoming_begin(in, n);
    if (n == BEAST_BATCH && 2 * in->peers <= n) {
        n = receive(fd, in, n, BEAST_RECEIVE_MAX - n, flags | MSG_DONTWAIT, drops);
        beast_incoming_begin(in, n);
    }
    return n;
}

uint32_t beast_incoming_take(beast_incoming *in, beast_datagram out[BEAST_BATCH])
{
    uint32_t n = 0;

    while (n < BEAST_BATCH && beast_incoming_next(in, &in->cursor, &out[n]))
        n++;
    return n;
}
