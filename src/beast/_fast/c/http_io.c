#include "http_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_serve.h"
#include "worker.h"

#define EVENTS_MAX 64         /* connections looked at in one round */
#define ACCEPT_MAX 64         /* connections accepted in one round */
#define TICK_MS 50            /* how late clocks and draining may be noticed */
#define TICK_NS (TICK_MS * INT64_C(1000000))
#define ACCEPT_PAUSE_NS INT64_C(100000000)
/* What the kernel may keep for one connection, in bytes, before it doubles them: left to itself it grows to megabytes
 * for whoever sends without end or never reads. */
#define RECEIVE_BUFFER (64 << 10)
#define SEND_BUFFER (256 << 10)

static bool watch_listener(beast_http *http, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = NULL};
    return epoll_ctl(http->epoll_fd, operation, http->listen_fd, &event) == 0;
}

/* Connections inherit these from their listener. */
static void set_options(int listen_fd)
{
    const int on = 1, receive = RECEIVE_BUFFER, send = SEND_BUFFER;
    setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(listen_fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    setsockopt(listen_fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof send);
}

beast_http *beast_http_new(beast_lane *lane, int listen_fd, const beast_http_config *config)
{
    beast_http *http = calloc(1, sizeof *http);
    if (!http)
        return NULL;
    http->lane = lane;
    http->listen_fd = listen_fd;
    http->sample_every = config->latency_sample;
    http->request.price.scratch = http->scratch;
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    set_options(listen_fd);
    if (http->epoll_fd >= 0 && beast_http_pool_open(&http->pool, lane, config) &&
        watch_listener(http, EPOLL_CTL_ADD, EPOLLIN))
        return http;
    beast_http_free(http);
    return NULL;
}

void beast_http_free(beast_http *http)
{
    if (!http)
        return;
    beast_http_pool_close(&http->pool);
    if (http->epoll_fd >= 0)
        close(http->epoll_fd);
    free(http);
}

static void add_connection(beast_http *http, int fd, const struct sockaddr *peer)
{
    beast_http_conn *conn = beast_http_conn_open(&http->pool, fd, peer, http->moment.now_ns);
    /* Both directions at once, by their edges: waiting to send later costs no system call. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = conn};
    if (!conn) {
        close(fd);
        return;
    }
    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        beast_count(&http->lane->counters, BEAST_COUNTER_http_overloaded, 1);
        beast_http_conn_close(&http->pool, conn);
    }
}

/* False when the queue is empty, or can't be emptied now. */
static bool accept_some(beast_http *http)
{
    for (int i = 0; i < ACCEPT_MAX; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        int fd = accept4(http->listen_fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_connection(http, fd, (const struct sockaddr *)&peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* The queue stays readable: asking again at once would be a busy loop. */
            beast_count(&http->lane->counters, BEAST_COUNTER_http_overloaded, 1);
            http->accept_again_ns = http->moment.now_ns + ACCEPT_PAUSE_NS;
            watch_listener(http, EPOLL_CTL_MOD, 0);
            return false;
        } else if (errno == EAGAIN) {
            return false;
        } /* else this one connection is gone already: the next */
    }
    return true;
}

static void accept_after_pause(beast_http *http)
{
    if (http->accept_again_ns == 0 || http->moment.now_ns < http->accept_again_ns)
        return;
    http->accept_again_ns = 0;
    watch_listener(http, EPOLL_CTL_MOD, EPOLLIN);
}

static void handle_event(beast_http *http, beast_http_conn *conn, uint32_t events)
{
    if (!conn->open)
        return; /* closed in this very round to make room */
    if (events & (EPOLLERR | EPOLLHUP))
        beast_http_conn_close(&http->pool, conn);
    else if (conn->unsent)
        beast_http_resume(http, conn);
    else if (events & (EPOLLIN | EPOLLRDHUP))
        beast_http_serve(http, conn, events & EPOLLRDHUP);
}

/* Connections whose last read was a full one: another read each, no more of them than epoll names in a round. */
static void serve_ready(beast_http *http)
{
    const beast_http_conn *last = http->pool.ready_last, *at = NULL;
    for (int i = 0; i < EVENTS_MAX && at != last; i++) {
        beast_http_conn *conn = beast_http_take_ready(&http->pool);
        if (!conn)
            return;
        at = conn;
        beast_http_serve(http, conn, false);
    }
}

static void run_round(beast_http *http, const struct epoll_event *events, int n)
{
    bool accepts = false;
    http->moment = beast_moment_now();
    beast_http_heads_refresh(&http->heads, http->moment.wall_ns);
    beast_usage_received(http->lane->usage, http->moment.now_ns);
    beast_reader_enter(&http->lane->reader);
    serve_ready(http);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr)
            handle_event(http, events[i].data.ptr, events[i].events);
        else
            accepts = true;
    }
    beast_reader_leave(&http->lane->reader);
    beast_usage_wake(http->lane->usage, http->lane->shared->usage_fd);
    beast_http_expire(&http->pool, http->moment.now_ns);
    if (accepts && http->listen_fd >= 0)
        accept_some(http);
    accept_after_pause(http);
}

/* Whoever is in the kernel's queue has been promised a connection; after that the port belongs to others, and
 * every connection is looked at once: nothing may ever come over it to wake us. */
static void begin_draining(beast_http *http)
{
    while (accept_some(http))
        ;
    close(http->listen_fd);
    http->listen_fd = -1;
    http->accept_again_ns = 0;
    http->draining = true;
    for (uint32_t i = 0; i < http->pool.max; i++)
        if (http->pool.slots[i].open)
            beast_http_make_ready(&http->pool, &http->pool.slots[i]);
}

void beast_http_run(beast_http *http, const _Atomic int64_t *deadline_ns)
{
    struct epoll_event events[EVENTS_MAX];
    http->moment = beast_moment_now();
    for (;;) {
        int n = epoll_wait(http->epoll_fd, events, EVENTS_MAX, http->pool.ready_first ? 0 : TICK_MS);
        run_round(http, events, n > 0 ? n : 0);
        beast_lane_pace(http->lane);
        if (!http->draining && atomic_load_explicit(&http->lane->shared->draining, memory_order_acquire))
            begin_draining(http);
        /* A little early: whoever waits until the deadline shall find the thread gone. */
        if (http->draining && (http->pool.open == 0 || http->moment.now_ns >= atomic_load(deadline_ns) - 2 * TICK_NS))
            break;
    }
    for (uint32_t i = 0; i < http->pool.max; i++)
        if (http->pool.slots[i].open)
            beast_http_conn_close(&http->pool, &http->pool.slots[i]);
}
