/* UDP for clients that let the kernel cut and join: requests of one length in one send, answers joined likewise. */
#include "load_inner.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <unistd.h>

#ifndef UDP_SEGMENT /* glibc before 2.31 */
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum { MERGED_MAX = 65536, MERGED = BEAST_LOAD_ROOM / MERGED_MAX };

static bool enable(int fd)
{
    const int on = 1;
    return setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
}

bool beast_load_can_segment(void)
{
    const int size = 512;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool can = fd >= 0 && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0 && enable(fd);
    if (fd >= 0)
        close(fd);
    return can;
}

static beast_status open_socket(beast_load *load, beast_load_socket *s)
{
    beast_status status = beast_load_udp_open(load, s);
    return status == BEAST_OK && !enable(s->fd) ? BEAST_SYSTEM : status;
}

static ssize_t send_segments(int fd, uint8_t *text, size_t len, uint16_t size)
{
    union {
        struct cmsghdr head;
        uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.room = {0}};
    struct iovec part = {text, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    control.head = (struct cmsghdr){CMSG_LEN(sizeof size), IPPROTO_UDP, UDP_SEGMENT};
    memcpy(CMSG_DATA(&control.head), &size, sizeof size);
    return sendmsg(fd, &message, MSG_DONTWAIT);
}

/* In the closed loop a window leaves whole or not at all. Spaces after the object make all requests equally long. */
static uint32_t send_requests(beast_load *load, beast_load_socket *s, uint32_t most)
{
    beast_flight flights[BEAST_LOAD_WINDOW_MAX];
    uint32_t size = load->request_size, n = beast_flight_room(load, s, most);
    int64_t now = beast_load_now();
    if (n == 0 || (load->config->rate == 0 && s->in_flight > 0))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *text = load->out + i * size;
        flights[i] = beast_flight_next(load, s, i, now);
        uint32_t len = beast_load_write(load, &flights[i], text);
        memset(text + len, ' ', size - len);
    }
    if (send_segments(s->fd, load->out, (size_t)n * size, (uint16_t)size) < 0)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        beast_flight_begin(load, s, &flights[i]);
    return n;
}

/* Length of each datagram in a merged one; the last may be shorter. */
static size_t segment_size(struct msghdr *message, size_t whole)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            return size > 0 ? (size_t)size : whole;
        }
    }
    return whole;
}

static beast_status receive(beast_load *load, beast_load_socket *s)
{
    struct mmsghdr messages[MERGED];
    struct iovec parts[MERGED];
    union {
        struct cmsghdr head;
        uint8_t room[CMSG_SPACE(sizeof(int))];
    } control[MERGED];
    for (uint32_t i = 0; i < MERGED; i++) {
        parts[i] = (struct iovec){load->room + (size_t)i * MERGED_MAX, MERGED_MAX};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1, .msg_control = &control[i],
                                                   .msg_controllen = sizeof control[i]}};
    }
    int got = recvmmsg(s->fd, messages, MERGED, MSG_DONTWAIT, NULL);
    load->received_ns = beast_load_now();
    for (int i = 0; i < got; i++) {
        const uint8_t *text = parts[i].iov_base;
        size_t whole = messages[i].msg_len, size = segment_size(&messages[i].msg_hdr, whole);
        for (size_t at = 0; at < whole; at += size)
            beast_load_datagram(load, s, text + at, whole - at < size ? whole - at : size);
    }
    return BEAST_OK;
}

const beast_load_wire beast_load_segment = {open_socket, send_requests, receive, beast_flights_expire};
