#include "udp_io.h"

#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define RECEIVE_TIMEOUT_US 100000 /* how late a stop may be noticed by an idle socket */
#define DRAINED_TIMEOUT_US 5000   /* longer than a datagram takes from the filter to the queue */
#define SEND_POLL_MS 10
#define SEND_POLLS 10

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int set_timeout(int fd, int32_t us)
{
    struct timeval timeout = {.tv_usec = us};
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

/* Beyond net.core.rmem_max with the privilege, up to it without. */
static uint32_t set_buffers(int fd, uint32_t bytes)
{
    int granted = 0;
    socklen_t len = sizeof granted;
    int want = bytes < INT32_MAX / 2 ? (int)bytes : INT32_MAX / 2;

    if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, want))
        set(fd, SOL_SOCKET, SO_RCVBUF, want);
    if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, want))
        set(fd, SOL_SOCKET, SO_SNDBUF, want);
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &len);
    return (uint32_t)granted / 2;
}

int beast_udp_open(const struct sockaddr *address, socklen_t len, bool first, uint32_t buffer, uint32_t *granted)
{
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    *granted = set_buffers(fd, buffer);
    if ((!first && set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) || set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1) ||
        set_timeout(fd, RECEIVE_TIMEOUT_US) || bind(fd, address, len) ||
        (first && set(fd, SOL_SOCKET, SO_REUSEPORT, 1))) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

beast_status beast_udp_refuse(int fd)
{
    struct sock_filter drop_all[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = 1, .filter = drop_all};

    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
        set_timeout(fd, DRAINED_TIMEOUT_US))
        return BEAST_SYSTEM;
    return BEAST_OK;
}

void beast_incoming_init(beast_incoming *in)
{
    memset(in, 0, offsetof(beast_incoming, bytes));
    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
        in->part[i] = (struct iovec){.iov_base = in->bytes[i], .iov_len = BEAST_RECEIVE_SIZE};
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

void beast_outgoing_init(beast_outgoing *out)
{
    memset(out, 0, offsetof(beast_outgoing, bytes));
    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
        out->part[i].iov_base = out->bytes[i];
        out->head[i].msg_hdr = (struct msghdr){.msg_iov = &out->part[i], .msg_iovlen = 1};
    }
}

/* The newest datagram that carries the socket's count of drops tells it for all before. */
static uint64_t new_drops(beast_incoming *in, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;) {
        struct msghdr *head = &in->head[i].msg_hdr;
        struct cmsghdr *control = CMSG_FIRSTHDR(head);
        if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t seen, before = in->drops_seen;
            memcpy(&seen, CMSG_DATA(control), sizeof seen);
            in->drops_seen = seen;
            return seen - before; /* modulo 2^32, as the kernel counts */
        }
    }
    return 0;
}

uint32_t beast_udp_receive(int fd, beast_incoming *in, uint64_t *drops)
{
    int n = recvmmsg(fd, in->head, BEAST_BATCH, MSG_WAITFORONE, NULL);

    if (n <= 0)
        return 0;
    *drops += new_drops(in, (uint32_t)n);
    for (int i = 0; i < n; i++) { /* the kernel wrote lengths where it wants sizes the next time */
        in->head[i].msg_hdr.msg_controllen = sizeof in->control[i];
    }
    return (uint32_t)n;
}

static bool may_send_soon(int error, int fd, uint32_t *polls)
{
    if (error == EINTR)
        return true;
    if (error != EAGAIN && error != EWOULDBLOCK && error != ENOBUFS)
        return false;
    if (*polls == 0)
        return false;
    --*polls;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    poll(&wait, 1, SEND_POLL_MS);
    return true;
}

uint32_t beast_udp_send(int fd, beast_outgoing *out)
{
    uint32_t at = 0, skipped = 0, polls = SEND_POLLS;

    while (at < out->count) {
        int n = sendmmsg(fd, out->head + at, out->count - at, MSG_DONTWAIT);
        if (n > 0) {
            at += (uint32_t)n;
        } else if (!may_send_soon(n < 0 ? errno : EAGAIN, fd, &polls)) {
            at++;
            skipped++;
        }
    }
    out->count = 0;
    return at - skipped;
}

/* Different peers with one tag are grouped as if they were one, which does no harm: each answer keeps its own
 * address. */
static uint64_t peer_tag(const beast_peer *peer)
{
    uint64_t word[2];

    if (peer->any.sa_family == AF_INET)
        return (uint64_t)peer->v4.sin_port << 32 | peer->v4.sin_addr.s_addr;
    memcpy(word, &peer->v6.sin6_addr, sizeof word);
    return (word[0] * 0x9e3779b97f4a7c15u ^ word[1]) + peer->v6.sin6_port;
}

void beast_group_by_peer(const beast_incoming *in, uint32_t n, uint8_t order[BEAST_BATCH])
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
