#include "load_inner.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

enum { READ = 65536, HELD_MAX = 8192, LENGTH_DIGITS_MAX = 9 };

/* Returns at the latest after the run's timeout: connecting is bounded by the send timeout. */
static beast_status open_connection(beast_load *load, beast_load_socket *s)
{
    const int on = 1;
    const struct timeval patience = {.tv_sec = load->config->timeout_ns / 1000000000,
                                     .tv_usec = load->config->timeout_ns % 1000000000 / 1000};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    s->fd = socket(load->config->peer.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return BEAST_SYSTEM;
    if (s->held == NULL && (s->held = malloc(HELD_MAX)) == NULL)
        return BEAST_NO_MEMORY;
    if (setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(s->fd, beast_address_of(&load->config->peer), load->config->peer.len) != 0 ||
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(load->poller, EPOLL_CTL_ADD, s->fd, &event) != 0)
        return BEAST_SYSTEM;
    return BEAST_OK;
}

/* A connection that broke, or whose answers can't be told apart any more: what it owed is lost. */
static beast_status reopen(beast_load *load, beast_load_socket *s)
{
    beast_flight_lose(load, s);
    beast_load_add(&load->report->reconnects, 1);
    close(s->fd);
    s->held_len = 0;
    return open_connection(load, s);
}

/* In the closed loop a pipeline leaves whole, once the one before is answered. */
static uint32_t send_requests(beast_load *load, beast_load_socket *s, uint32_t most)
{
    beast_flight flights[BEAST_LOAD_WINDOW_MAX];
    uint32_t n = beast_flight_room(load, s, most);
    int64_t now = beast_load_now();
    size_t len = 0;
    if (n == 0 || (load->config->rate == 0 && s->in_flight > 0))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        flights[i] = beast_flight_next(load, s, i, now);
        len += beast_load_write(load, &flights[i], load->out + len);
    }
    ssize_t sent = send(s->fd, load->out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        return 0; /* full, or broken: then reading says so */
    for (uint32_t i = 0; i < n; i++)
        beast_flight_begin(load, s, &flights[i]);
    if ((size_t)sent < len)
        shutdown(s->fd, SHUT_RDWR); /* half a request can't be taken back */
    return n;
}

/* The status, and the body's place and length; false: more must come. A head without Content-Length has no body. */
static bool split(const uint8_t *data, size_t held, size_t *body, size_t *body_len)
{
    const char *text = (const char *)data, *end = memmem(data, held, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    *body = (size_t)(end - text) + 4;
    *body_len = 0;
    for (const char *line = memchr(text, '\n', (size_t)(end - text)); line != NULL;
         line = memchr(line + 1, '\n', (size_t)(end - line - 1))) {
        const char name[] = "content-length:", *value = line + sizeof name;
        if (end - line < (ptrdiff_t)sizeof name || strncasecmp(line + 1, name, sizeof name - 1) != 0)
            continue;
        for (; value < end && *value == ' '; value++) {
        }
        for (int i = 0; value < end && *value >= '0' && *value <= '9' && i < LENGTH_DIGITS_MAX; i++, value++)
            *body_len = *body_len * 10 + (size_t)(*value - '0');
    }
    return *body + *body_len <= held;
}

static void count(beast_load *load, beast_load_socket *s, const uint8_t *data, size_t body, size_t len)
{
    beast_load_answer answer = {BEAST_LOAD_FAULT_NONE, BEAST_RESULT_ANSWERED};
    beast_flight flight;
    if (!beast_flight_end(load, s, 0, &flight)) {
        beast_load_wrong(load, BEAST_LOAD_FAULT_STRAY, data, body + len);
        return;
    }
    bool good = body > 12 && memcmp(data + 8, " 200", 4) == 0;
    if (load->config->check == BEAST_LOAD_CHECK_ALL || (load->config->check == BEAST_LOAD_CHECK_ID && !good)) {
        beast_load_expected expected = beast_load_expect(load, &flight, false);
        answer = beast_load_read(&expected, data + body, len);
        if (answer.fault == BEAST_LOAD_FAULT_NONE && good != (answer.result == BEAST_RESULT_ANSWERED))
            answer.fault = BEAST_LOAD_FAULT_MALFORMED;
    }
    beast_load_count(load, &flight, answer, data + body, len);
}

static beast_status receive(beast_load *load, beast_load_socket *s)
{
    uint8_t *text = load->room;
    memcpy(text, s->held, s->held_len);
    ssize_t got = recv(s->fd, text + s->held_len, READ, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return BEAST_OK;
    if (got <= 0)
        return reopen(load, s);
    load->received_ns = beast_load_now();
    size_t held = s->held_len + (size_t)got, body, len;
    while (held > 0 && split(text, held, &body, &len)) {
        count(load, s, text, body, len);
        text += body + len;
        held -= body + len;
    }
    if (held > HELD_MAX)
        return reopen(load, s);
    s->held_len = (uint32_t)held;
    memcpy(s->held, text, held);
    return BEAST_OK;
}

static beast_status expire(beast_load *load, int64_t oldest)
{
    for (uint32_t i = 0; i < load->config->sockets; i++) {
        beast_status status = BEAST_OK;
        if (beast_flight_overdue(&load->sockets[i], oldest))
            status = reopen(load, &load->sockets[i]);
        if (status != BEAST_OK)
            return status;
    }
    return BEAST_OK;
}

const beast_load_wire beast_load_http = {open_connection, send_requests, receive, expire};
