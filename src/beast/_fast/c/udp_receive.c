/* Receiving: messages of one or several datagrams, taken peer by peer. */
#include <netinet/udp.h>
#include <time.h>

#include "udp_io.h"

void beast_incoming_init(beast_incoming *in)
{
    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
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

uint32_t beast_udp_receive(int fd, beast_incoming *in, int flags, uint64_t *drops)
{
    int n = recvmmsg(fd, in->head, BEAST_BATCH, flags | MSG_WAITFORONE, NULL);
    uint32_t drops_now = in->drops_seen;

    if (n <= 0)
        return 0;
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        in->cut[i] = in->head[i].msg_len;
        in->stamp_ns[i] = 0;
        if (in->head[i].msg_hdr.msg_controllen != 0)
            read_control(in, i, &drops_now);
        in->head[i].msg_hdr.msg_controllen = sizeof in->control[i]; /* the kernel wrote how much it used */
    }
    *drops += drops_now - in->drops_seen; /* modulo 2^32, as the kernel counts */
    in->drops_seen = drops_now;
    beast_incoming_begin(in, (uint32_t)n);
    return (uint32_t)n;
}

/* Different peers with one tag are grouped as if they were one, which does no harm: nothing is merged by it. */
static uint64_t peer_tag(const beast_peer *peer)
{
    uint64_t word[2];

    if (peer->any.sa_family == AF_INET)
        return (uint64_t)peer->v4.sin_port << 32 | peer->v4.sin_addr.s_addr;
    memcpy(word, &peer->v6.sin6_addr, sizeof word);
    return (word[0] * 0x9e3779b97f4a7c15u ^ word[1]) + peer->v6.sin6_port;
}

/* As received, but all messages of one peer follow its first. */
static void group_by_peer(const beast_incoming *in, uint32_t n, uint8_t order[BEAST_BATCH])
{
    enum { NONE = 0xff, PLACES = 2 * BEAST_BATCH };
    uint64_t tag[BEAST_BATCH];
    uint8_t first_at[PLACES], last[BEAST_BATCH], next[BEAST_BATCH];
    uint32_t groups = 0, filled = 0;
    uint8_t first[BEAST_BATCH];

    memset(first_at, NONE, sizeof first_at);
    for (uint32_t i = 0; i < n; i++) {
        tag[i] = peer_tag(&in->peer[i]);
        next[i] = NONE;
        uint32_t place = (uint32_t)(tag[i] * 0x9e3779b97f4a7c15u >> 58);
        while (first_at[place] != NONE && tag[first_at[place]] != tag[i])
            place = (place + 1) % PLACES;
        if (first_at[place] == NONE) {
            first_at[place] = last[i] = first[groups++] = (uint8_t)i;
        } else {
            uint8_t head = first_at[place];
            next[last[head]] = (uint8_t)i;
            last[head] = (uint8_t)i;
        }
    }
    for (uint32_t g = 0; g < groups; g++)
        for (uint8_t i = first[g]; i != NONE; i = next[i])
            order[filled++] = i;
}

void beast_incoming_begin(beast_incoming *in, uint32_t count)
{
    in->count = count;
    in->at = in->offset = 0;
    group_by_peer(in, count, in->order);
}

uint32_t beast_incoming_take(beast_incoming *in, beast_datagram out[BEAST_BATCH])
{
    uint32_t n = 0;

    while (n < BEAST_BATCH && in->at < in->count) {
        uint32_t i = in->order[in->at], left = in->head[i].msg_len - in->offset;
        uint32_t len = left < in->cut[i] ? left : in->cut[i];
        out[n++] = (beast_datagram){.bytes = in->bytes[i] + in->offset, .peer = &in->peer[i], .len = len};
        in->offset += len;
        if (len == left) {
            in->at++;
            in->offset = 0;
        }
    }
    return n;
}
