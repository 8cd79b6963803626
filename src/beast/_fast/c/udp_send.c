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

void beast_outgoing_init(beast_outgoing *out, bool merges, beast_flight *flight)
{
    out->merges = merges;
    out->flight = flight;
    beast_outgoing_clear(out);
    for (uint32_t i = 0; i < BEAST_BATCH; i++) {
        struct cmsghdr *size = (struct cmsghdr *)out->control[i].bytes;
        *size = (struct cmsghdr){
            .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
        flight->message[i].msg_hdr =
            (struct msghdr){.msg_iov = &out->part[i], .msg_iovlen = 1, .msg_control = out->control[i].bytes};
    }
}

void beast_outgoing_clear(beast_outgoing *out)
{
    out->count = out->at = out->records = 0;
    out->polls = SEND_POLLS;
    out->open = NULL;
    out->apart = false;
    out->end = out->bytes;
}

void beast_outgoing_merge(beast_outgoing *out, uint32_t len, bool recorded)
{
    uint32_t at = out->count - 1;
    struct msghdr *head = &out->flight->message[at].msg_hdr;

    out->flight->recorded[at] |= (uint64_t)recorded << out->datagrams[at];
    if (out->datagrams[at]++ == 1) {
        head->msg_controllen = sizeof out->control[at].bytes;
        memcpy(CMSG_DATA((struct cmsghdr *)out->control[at].bytes), &out->cut[at], sizeof out->cut[at]);
    }
    out->part[at].iov_len += len;
    out->end += len;
    /* Only the last one may be shorter. */
    if (len != out->cut[at] || out->datagrams[at] == MERGED_DATAGRAMS || out->part[at].iov_len + len > MERGED_BYTES)
        out->open = NULL;
}

static bool may_send_soon(int error, beast_outgoing *out)
{
    if (error == EINTR)
        return true;
    return (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS) && out->polls > 0;
}

void beast_udp_wait(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    poll(&wait, 1, SEND_POLL_MS);
}

/* The first `n` messages wait no longer. */
static void leave(beast_outgoing *out, uint32_t n, beast_send_step *step)
{
    bool all = out->at + n == out->count;

    step->records = all ? out->records : 0;
    for (; n > 0; n--, out->at++) {
        step->datagrams += out->datagrams[out->at];
        if (!all)
            step->records += (uint32_t)__builtin_popcountll(out->flight->recorded[out->at]);
    }
    out->records -= step->records;
}

/* The first datagram of the first message waits no longer. */
static void leave_one(beast_outgoing *out, beast_send_step *step)
{
    uint32_t at = out->at;

    step->datagrams = 1;
    step->records = (uint32_t)(out->flight->recorded[at] & 1);
    out->records -= step->records;
    out->flight->recorded[at] >>= 1;
    out->part[at].iov_base = (uint8_t *)out->part[at].iov_base + out->cut[at];
    if (--out->datagrams[at] > 0) {
        out->part[at].iov_len -= out->cut[at];
        return;
    }
    out->apart = false;
    out->at++;
}

beast_flight_word beast_outgoing_ready(beast_outgoing *out)
{
    struct mmsghdr *spare = &out->flight->message[BEAST_FLIGHT_SPARE];
    uint32_t at = out->at;

    if (!out->apart)
        return beast_flight_messages(at, out->count);
    *spare = (struct mmsghdr){.msg_hdr = out->flight->message[at].msg_hdr};
    spare->msg_hdr.msg_iov = &out->piece;
    spare->msg_hdr.msg_control = NULL;
    spare->msg_hdr.msg_controllen = 0;
    out->piece = out->part[at];
    out->piece.iov_len = out->piece.iov_len < out->cut[at] ? out->piece.iov_len : out->cut[at];
    out->flight->recorded[BEAST_FLIGHT_SPARE] = out->flight->recorded[at] & 1;
    return beast_flight_messages(BEAST_FLIGHT_SPARE, BEAST_FLIGHT_SPARE + 1);
}

/* After an error. */
static beast_send_result refuse(beast_outgoing *out, int error, beast_send_step *step)
{
    if (may_send_soon(error, out)) {
        out->polls -= error != EINTR;
        return BEAST_SEND_LATER;
    }
    if (out->apart) {
        leave_one(out, step);
        return BEAST_SEND_REFUSED;
    }
    if (out->datagrams[out->at] > 1) {
        /* The way out of this message may have no UDP_SEGMENT, or be too narrow for it. */
        out->apart = true;
        return BEAST_SEND_TAKEN;
    }
    leave(out, 1, step);
    return BEAST_SEND_REFUSED;
}

beast_send_result beast_udp_send_step(int fd, beast_outgoing *out, beast_send_step *step)
{
    *step = (beast_send_step){0};
    if (out->apart) {
        if (sendmmsg(fd, &out->flight->message[BEAST_FLIGHT_SPARE], 1, MSG_DONTWAIT) <= 0)
            return refuse(out, errno, step);
        leave_one(out, step);
        return BEAST_SEND_TAKEN;
    }
    int n = sendmmsg(fd, out->flight->message + out->at, out->count - out->at, MSG_DONTWAIT);
    if (n <= 0)
        return refuse(out, errno, step);
    leave(out, (uint32_t)n, step);
    return BEAST_SEND_TAKEN;
}
