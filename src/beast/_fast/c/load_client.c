#include "load_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EVENTS = 256, POLL_MS = 100, TURN = 256, RATE_MAX = 5000000, UNLIMITED = INT32_MAX };
static const int64_t MS = 1000000;

static const beast_load_wire *const WIRES[] = {&beast_load_udp, &beast_load_segment, &beast_load_http};

static bool over(const beast_load *load)
{
    return atomic_load_explicit(load->stop, memory_order_relaxed) || beast_load_now() >= load->end_ns;
}

/* To the ns where the kernel can (Linux 5.11), else to the ms, rounded down. The C library may be older than both. */
static int await(const beast_load *load, struct epoll_event *events, int64_t wait_ns)
{
#ifdef SYS_epoll_pwait2
    if (wait_ns > 0 && wait_ns < MS) {
        const struct timespec wait = {.tv_nsec = (long)wait_ns};
        int n = (int)syscall(SYS_epoll_pwait2, load->poller, events, EVENTS, &wait, NULL, (size_t)0);
        if (n >= 0 || errno != ENOSYS)
            return n;
    }
#endif
    return epoll_wait(load->poller, events, EVENTS, (int)(wait_ns / MS));
}

/* Waits for answers and takes them. *n says how many sockets had any. */
static beast_status take(beast_load *load, struct epoll_event *events, int64_t wait_ns, int *n)
{
    beast_status status = BEAST_OK;
    *n = await(load, events, wait_ns);
    if (*n < 0) {
        *n = 0;
        return errno == EINTR ? BEAST_OK : BEAST_SYSTEM;
    }
    for (int i = 0; i < *n && status == BEAST_OK; i++)
        status = load->wire->receive(load, events[i].data.ptr);
    atomic_store_explicit(&load->report->elapsed_ns, beast_load_now() - load->start_ns, memory_order_relaxed);
    return status;
}

static beast_status expire(beast_load *load, int64_t *next)
{
    int64_t now = beast_load_now();
    if (now < *next)
        return BEAST_OK;
    *next = now + load->config->timeout_ns / 4;
    return load->wire->expire(load, now - load->config->timeout_ns);
}

static void fill(beast_load *load)
{
    bool interleaved = load->config->interleaved;
    for (uint32_t round = 0; round < (interleaved ? load->sockets[0].window : 1); round++) {
        for (uint32_t i = 0; i < load->config->sockets; i++)
            load->wire->send(load, &load->sockets[i], interleaved ? 1 : BEAST_LOAD_WINDOW_MAX);
    }
}

static beast_status closed_loop(beast_load *load)
{
    struct epoll_event events[EVENTS];
    int64_t next_expiry = load->start_ns + load->config->timeout_ns;
    beast_status status = BEAST_OK;
    int n;
    fill(load);
    while (status == BEAST_OK && !over(load)) {
        int64_t expiry_before = next_expiry;
        if ((status = take(load, events, POLL_MS * MS, &n)) != BEAST_OK || (status = expire(load, &next_expiry)) != BEAST_OK)
            break;
        if (load->config->interleaved || next_expiry != expiry_before) {
            fill(load);
            continue;
        }
        for (int i = 0; i < n; i++)
            load->wire->send(load, events[i].data.ptr, BEAST_LOAD_WINDOW_MAX);
    }
    return status;
}

/* Requests whose time has come by `now`, less those sent. */
static uint64_t due_now(const beast_load *load, int64_t now)
{
    uint64_t past = (uint64_t)((now < load->end_ns ? now : load->end_ns) - load->start_ns), rate = load->config->rate;
    uint64_t due = past / 1000000000 * rate + past % 1000000000 * rate / 1000000000;
    return due > load->issued ? due - load->issued : 0;
}

/* Sends what is due, socket by socket; gives up when none of them can take more, and now and then to read. */
static void send_due(beast_load *load)
{
    uint64_t due = due_now(load, beast_load_now());
    due = due < TURN ? due : TURN;
    for (uint32_t idle = 0; due > 0 && idle < load->config->sockets;) {
        beast_load_socket *s = &load->sockets[load->turn];
        uint32_t most = due < load->config->burst ? (uint32_t)due : load->config->burst;
        uint32_t sent = load->wire->send(load, s, most);
        load->turn = (load->turn + 1) % load->config->sockets;
        due -= sent;
        idle = sent > 0 ? 0 : idle + 1;
    }
}

/* At the end of its time: whether requests are still due, and there is hope to send them. */
static bool late(const beast_load *load)
{
    int64_t now = beast_load_now();
    return !atomic_load_explicit(load->stop, memory_order_relaxed) && now < load->end_ns + load->config->timeout_ns &&
           due_now(load, now) > 0;
}

/* Until the next request is due. Close to its time it polls without waiting, unless it shall nap. */
static int64_t pause_ns(const beast_load *load)
{
    int64_t left = beast_load_due(load, load->issued + load->config->burst - 1) - beast_load_now();
    int64_t nap = load->config->nap_us * INT64_C(1000);
    if (left > 2 * MS)
        return left < POLL_MS * MS ? left - MS : POLL_MS * MS;
    return nap == 0 || left <= 0 ? 0 : left > nap ? left : nap;
}

static beast_status open_loop(beast_load *load)
{
    struct epoll_event events[EVENTS];
    int64_t next_expiry = load->start_ns + load->config->timeout_ns;
    beast_status status = BEAST_OK;
    int n;
    if (load->config->nap_us > 0)
        prctl(PR_SET_TIMERSLACK, 1); /* of this thread, in ns; by itself it is as long as a nap */
    while (status == BEAST_OK && (!over(load) || late(load))) {
        send_due(load);
        if ((status = take(load, events, pause_ns(load), &n)) == BEAST_OK)
            status = expire(load, &next_expiry);
    }
    beast_load_add(&load->report->unsent, due_now(load, beast_load_now()));
    return status;
}

static bool waiting(const beast_load *load)
{
    for (uint32_t i = 0; i < load->config->sockets; i++)
        if (load->sockets[i].in_flight > 0)
            return true;
    return false;
}

/* What is in flight may still come; the rest is lost. The time of this is none of the run's. */
static beast_status finish(beast_load *load)
{
    struct epoll_event events[EVENTS];
    int64_t elapsed = beast_load_now() - load->start_ns, patience = beast_load_now() + load->config->timeout_ns;
    beast_status status = BEAST_OK;
    int n;
    while (status == BEAST_OK && waiting(load) && beast_load_now() < patience)
        status = take(load, events, POLL_MS / 10 * MS, &n);
    for (uint32_t i = 0; i < load->config->sockets; i++)
        beast_flight_lose(load, &load->sockets[i]);
    atomic_store_explicit(&load->report->elapsed_ns, elapsed, memory_order_relaxed);
    return status;
}

static beast_status run(beast_load *load)
{
    for (uint32_t i = 0; i < load->config->sockets; i++) {
        beast_status status = load->wire->open(load, &load->sockets[i]);
        if (status != BEAST_OK)
            return status;
    }
    load->start_ns = beast_load_now();
    load->end_ns = load->start_ns + load->config->duration_ns;
    beast_status status = load->config->rate > 0 ? open_loop(load) : closed_loop(load);
    beast_status finished = finish(load);
    return status != BEAST_OK ? status : finished;
}

static bool sensible(const beast_load_config *c)
{
    if (c->sockets == 0 || c->n_keys == 0 || c->n_assets == 0 || c->duration_ns <= 0 || c->timeout_ns <= 0 ||
        (unsigned)c->protocol >= BEAST_LOAD_PROTOCOLS || beast_load_longest(c) == 0)
        return false;
    if (c->rate > 0)
        return c->rate <= RATE_MAX && c->burst >= 1 && c->burst <= BEAST_LOAD_WINDOW_MAX && c->nap_us < 1000;
    return c->in_flight >= c->sockets && c->in_flight / BEAST_LOAD_WINDOW_MAX <= c->sockets &&
           (uint64_t)c->in_flight <= (uint64_t)c->sockets * BEAST_LOAD_WINDOW_MAX;
}

/* The share of each socket; the first ones take what does not divide. Without ids a queue is the limit. */
static uint32_t window(const beast_load_config *c, uint32_t i)
{
    if (c->rate == 0)
        return c->in_flight / c->sockets + (i < c->in_flight % c->sockets);
    return c->protocol == BEAST_LOAD_HTTP || c->check == BEAST_LOAD_CHECK_NONE ? BEAST_LOAD_WINDOW_MAX : UNLIMITED;
}

static beast_status open_load(beast_load *load)
{
    const beast_load_config *c = load->config;
    load->request_size = beast_load_longest(c);
    load->sockets = calloc(c->sockets, sizeof *load->sockets);
    load->room = malloc(BEAST_LOAD_ROOM);
    load->out = malloc((size_t)BEAST_LOAD_WINDOW_MAX * BEAST_LOAD_REQUEST_MAX);
    if (load->sockets == NULL || load->room == NULL || load->out == NULL)
        return BEAST_NO_MEMORY;
    for (uint32_t i = 0; i < c->sockets; i++) {
        load->sockets[i].fd = -1;
        load->sockets[i].window = window(c, i);
    }
    load->poller = epoll_create1(EPOLL_CLOEXEC);
    return load->poller < 0 ? BEAST_SYSTEM : beast_flights_open(load);
}

static void close_load(beast_load *load)
{
    int error = errno; /* the caller's, when a system call failed */
    for (uint32_t i = 0; load->sockets != NULL && i < load->config->sockets; i++) {
        if (load->sockets[i].fd >= 0)
            close(load->sockets[i].fd);
        free(load->sockets[i].held);
    }
    if (load->poller >= 0)
        close(load->poller);
    free(load->sockets);
    free(load->room);
    free(load->out);
    free(load->flights);
    errno = error;
}

beast_status beast_load_run(const beast_load_config *config, const atomic_bool *stop, beast_load_report *report)
{
    if (!sensible(config))
        return BEAST_BAD_ARGUMENT;
    beast_load load = {.config = config, .wire = WIRES[config->protocol], .stop = stop, .report = report,
                       .poller = -1, .random = UINT64_C(0x9E3779B97F4A7C15)};
    beast_status status = open_load(&load);
    if (status == BEAST_OK)
        status = run(&load);
    close_load(&load);
    return status;
}
