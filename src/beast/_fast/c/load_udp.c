#include "load_inner.h"

#include <stdlib.h>
#include <sys/epoll.h>

enum { ANSWER_ROOM = 2048, RECEIVE_BUFFER = 1 << 20 };

_Static_assert(BEAST_LOAD_WINDOW_MAX * ANSWER_ROOM <= BEAST_LOAD_ROOM, "a batch of answers fits");

beast_status beast_load_udp_open(beast_load *load, beast_load_socket *s)
{
    const int room = RECEIVE_BUFFER;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    s->fd = socket(load->config->peer.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return BEAST_SYSTEM;
    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (connect(s->fd, beast_address_of(&load->config->peer), load->config->peer.len) != 0 ||
        epoll_ctl(load->poller, EPOLL_CTL_ADD, s->fd, &event) != 0)
        return BEAST_SYSTEM;
    return BEAST_OK;
}

/* One system call for all that the socket has room for. What the kernel does not take goes with the next round. */
static uint32_t send_requests(beast_load *load, beast_load_socket *s, uint32_t most)
{
    struct mmsghdr messages[BEAST_LOAD_WINDOW_MAX];
    struct iovec parts[BEAST_LOAD_WINDOW_MAX];
    beast_flight flights[BEAST_LOAD_WINDOW_MAX];
    uint32_t n = beast_flight_room(load, s, most);
    int64_t now = beast_load_now();
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *text = load->out + i * BEAST_LOAD_REQUEST_MAX;
        flights[i] = beast_flight_next(load, s, i, now);
        parts[i] = (struct iovec){text, beast_load_write(load, &flights[i], text)};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int sent = n == 0 ? 0 : sendmmsg(s->fd, messages, n, MSG_DONTWAIT);
    for (int i = 0; i < sent; i++)
        beast_flight_begin(load, s, &flights[i]);
    return sent < 0 ? 0 : (uint32_t)sent;
}

/* The id in `,"id":1234567890}` at the end, before the padding; 0: there is none. */
static uint64_t id_of(const uint8_t *text, size_t len)
{
    static const char member[] = ",\"id\":";
    const size_t size = sizeof member - 1 + BEAST_LOAD_ID_DIGITS + 1;
    uint64_t id = 0;
    while (len > 0 && text[len - 1] == ' ')
        len--;
    if (len < size || text[len - 1] != '}' || memcmp(text + len - size, member, sizeof member - 1) != 0)
        return 0;
    for (const uint8_t *digit = text + len - 1 - BEAST_LOAD_ID_DIGITS; digit < text + len - 1; digit++) {
        if (*digit < '0' || *digit > '9')
            return 0;
        id = id * 10 + (uint64_t)(*digit - '0');
    }
    return id;
}

void beast_load_datagram(beast_load *load, beast_load_socket *s, const uint8_t *text, size_t len)
{
    beast_load_answer answer = {BEAST_LOAD_FAULT_NONE, BEAST_RESULT_ANSWERED};
    beast_load_check check = load->config->check;
    beast_flight flight;
    uint64_t id = check == BEAST_LOAD_CHECK_NONE ? 0 : id_of(text, len);
    if (!beast_flight_end(load, s, id, &flight)) {
        beast_load_wrong(load, BEAST_LOAD_FAULT_STRAY, text, len);
        return;
    }
    if (check == BEAST_LOAD_CHECK_ALL || (check == BEAST_LOAD_CHECK_ID && text[2] == 'e')) {
        beast_load_expected expected = beast_load_expect(load, &flight, true);
        answer = beast_load_read(&expected, text, len);
    }
    beast_load_count(load, &flight, answer, text, len);
}

static beast_status receive(beast_load *load, beast_load_socket *s)
{
    struct mmsghdr messages[BEAST_LOAD_WINDOW_MAX];
    struct iovec parts[BEAST_LOAD_WINDOW_MAX];
    uint32_t most = s->in_flight < BEAST_LOAD_WINDOW_MAX ? s->in_flight : BEAST_LOAD_WINDOW_MAX;
    uint32_t want = most == 0 ? 1 : most;
    for (uint32_t i = 0; i < want; i++) {
        parts[i] = (struct iovec){load->room + i * ANSWER_ROOM, ANSWER_ROOM};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int got = recvmmsg(s->fd, messages, want, MSG_DONTWAIT, NULL);
    load->received_ns = beast_load_now();
    for (int i = 0; i < got; i++)
        beast_load_datagram(load, s, parts[i].iov_base, messages[i].msg_len);
    return BEAST_OK; /* a refusal by ICMP is a request without an answer */
}

const beast_load_wire beast_load_udp = {beast_load_udp_open, send_requests, receive, beast_flights_expire};
