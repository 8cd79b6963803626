/* Sending: answers in a row to one peer leave as one message, which the kernel cuts. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>

#include "udp_io.h"

#define SEND_POLL_MS 10
#define SEND_POLLS 10
/* Of one merged message: what every kernel with UDP_SEGMENT takes, and one IP packet holds. */
#define MERGED_DATAGRAMS 64
#define MERGED_BYTES 65000

void beast_outgoing_init(beast_outgoing *out, bool merges)
{
    out->count = 0;
    out->merges = merges;
    out->open = false;
    out->end = out->bytes;
    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
        struct cmsghdr *size = (struct cmsghdr *)out->control[i].bytes;
        *size = (struct cmsghdr){
            .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
        out->head[i].msg_hdr = (struct msghdr){.msg_iov = &out->part[i], .msg_iovlen = 1};
    }
}

static inline bool merges_with_last(const beast_outgoing *out, const beast_peer *peer, uint32_t len)
{
    uint32_t at = out->count - 1;
    return out->open && out->head[at].msg_hdr.msg_name == (const void *)peer && len <= out->cut[at];
}

static void merge(beast_outgoing *out, uint32_t len)
{
    uint32_t at = out->count - 1;
    struct msghdr *head = &out->head[at].msg_hdr;

    if (out->datagrams[at]++ == 1) {
        head->msg_control = out->control[at].bytes;
        head->msg_controllen = sizeof out->control[at].bytes;
        memcpy(CMSG_DATA((struct cmsghdr *)out->control[at].bytes), &out->cut[at], sizeof out->cut[at]);
    }
    out->part[at].iov_len += len;
    /* Only the last one may be shorter. */
    out->open = len == out->cut[at] && out->datagrams[at] < MERGED_DATAGRAMS &&
                out->part[at].iov_len + len <= MERGED_BYTES;
}

void beast_outgoing_add(beast_outgoing *out, const beast_peer *peer, uint32_t len)
{
    if (merges_with_last(out, peer, len)) {
        merge(out, len);
    } else {
        uint32_t at = out->count++;
        struct msghdr *head = &out->head[at].msg_hdr;
        head->msg_name = (void *)peer;
        head->msg_namelen = peer->any.sa_family == AF_INET ? sizeof peer->v4 : sizeof peer->v6;
        head->msg_control = NULL;
        head->msg_controllen = 0;
        out->part[at].iov_base = out->end;
        out->part[at].iov_len = len;
        out->datagrams[at] = 1;
        out->cut[at] = (uint16_t)len;
        out->open = out->merges;
    }
    out->end += len;
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

/* Datagram by datagram: the way out of this message may have no UDP_SEGMENT, or be too narrow for it. */
static uint32_t send_apart(int fd, const beast_outgoing *out, uint32_t at, uint32_t *polls)
{
    struct iovec part = {.iov_base = out->part[at].iov_base};
    struct msghdr head = out->head[at].msg_hdr;
    size_t left = out->part[at].iov_len;
    uint32_t sent = 0;

    head.msg_iov = &part;
    head.msg_control = NULL;
    head.msg_controllen = 0;
    for (; left > 0; left -= part.iov_len, part.iov_base = (uint8_t *)part.iov_base + part.iov_len) {
        part.iov_len = left < out->cut[at] ? left : out->cut[at];
        ssize_t done;
        do
            done = sendmsg(fd, &head, MSG_DONTWAIT);
        while (done < 0 && may_send_soon(errno, fd, polls));
        sent += done >= 0;
    }
    return sent;
}

uint32_t beast_udp_send(int fd, beast_outgoing *out, uint64_t *lost)
{
    uint32_t at = 0, sent = 0, waiting = 0, polls = SEND_POLLS;

    for (uint32_t i = 0; i < out->count; i++)
        waiting += out->datagrams[i];
    while (at < out->count) {
        int n = sendmmsg(fd, out->head + at, out->count - at, MSG_DONTWAIT);
        if (n > 0) {
            while (n--)
                sent += out->datagrams[at++];
        } else if (!may_send_soon(errno, fd, &polls)) {
            if (out->datagrams[at] > 1)
                sent += send_apart(fd, out, at, &polls);
            at++;
        }
    }
    out->count = 0;
    out->open = false;
    out->end = out->bytes;
    *lost += waiting - sent;
    return sent;
}
