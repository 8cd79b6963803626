#include "engine_inner.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "sockets.h"

#define LEAVE_NS INT64_C(500000000) /* for a thread that worked until the very deadline to return */

static void close_sockets(beast_engine *engine)
{
    for (uint32_t i = 0; i < engine->config.workers; i++) {
        beast_worker *worker = &engine->workers[i];
        beast_batch_free(worker->batch);
        beast_http_free(worker->http);
        if (worker->udp_fd >= 0)
            close(worker->udp_fd);
        if (worker->http_fd >= 0)
            close(worker->http_fd);
        *worker = (beast_worker){.engine = engine, .number = i, .udp_fd = -1, .http_fd = -1};
    }
}

static void note_features(beast_udp_features *least, const beast_udp_features *granted, bool first)
{
    if (first || granted->buffer < least->buffer)
        least->buffer = granted->buffer;
    least->gro = granted->gro && (first || least->gro);
    least->segment = granted->segment && (first || least->segment);
}

static beast_status open_udp(beast_engine *engine)
{
    beast_address address;
    beast_udp_features granted;

    if (engine->config.udp_port < 0)
        return BEAST_OK;
    engine->udp_port = engine->config.udp_port;
    for (uint32_t i = 0; i < engine->config.workers; i++) {
        beast_worker *worker = &engine->workers[i];
        if (beast_address_parse(engine->host, (uint16_t)engine->udp_port, &address)) {
            errno = EADDRNOTAVAIL;
            return BEAST_SYSTEM;
        }
        worker->udp_fd = beast_udp_open(beast_address_of(&address), address.len, i == 0,
                                        engine->config.udp_buffer, &granted);
        if (worker->udp_fd < 0)
            return BEAST_SYSTEM;
        note_features(&engine->udp, &granted, i == 0);
        engine->udp_port = beast_bound_port(worker->udp_fd);
        worker->batch = beast_batch_new(&engine->lanes[i], worker->udp_fd, granted.segment);
        if (!worker->batch)
            return BEAST_NO_MEMORY;
        worker->batch->spin_ns = engine->config.spin_ns;
        worker->batch->sample_every = engine->config.latency_sample;
    }
    return BEAST_OK;
}

static beast_status open_http(beast_engine *engine)
{
    beast_address address;

    if (engine->config.http_port < 0)
        return BEAST_OK;
    engine->http_port = engine->config.http_port;
    for (uint32_t i = 0; i < engine->config.workers; i++) {
        beast_worker *worker = &engine->workers[i];
        if (beast_address_parse(engine->host, (uint16_t)engine->http_port, &address)) {
            errno = EADDRNOTAVAIL;
            return BEAST_SYSTEM;
        }
        worker->http_fd = beast_tcp_open(beast_address_of(&address), address.len, i == 0);
        if (worker->http_fd < 0)
            return BEAST_SYSTEM;
        engine->http_port = beast_bound_port(worker->http_fd);
        worker->http = beast_http_new(&engine->lanes[engine->config.workers + i], worker->http_fd,
                                      &engine->config.http);
        if (!worker->http)
            return BEAST_NO_MEMORY;
    }
    return BEAST_OK;
}

static void *run_udp(void *argument)
{
    beast_worker *worker = argument;

    beast_udp_run(worker->batch);
    return NULL;
}

static void *run_http(void *argument)
{
    beast_worker *worker = argument;

    beast_http_run(worker->http, &worker->engine->deadline_ns);
    worker->http_fd = -1; /* closed by now */
    return NULL;
}

static bool start_thread(beast_worker *worker, pthread_t *thread, void *(*run)(void *), const char *kind)
{
    pthread_attr_t attributes;
    char name[16];

    pthread_attr_init(&attributes);
    if (worker->engine->config.pin) {
        cpu_set_t processors;
        CPU_ZERO(&processors);
        CPU_SET(worker->number, &processors);
        pthread_attr_setaffinity_np(&attributes, sizeof processors, &processors);
    }
    int error = pthread_create(thread, &attributes, run, worker);
    pthread_attr_destroy(&attributes);
    if (error) {
        errno = error;
        return false;
    }
    snprintf(name, sizeof name, "%s-%u", kind, worker->number);
    pthread_setname_np(*thread, name);
    return true;
}

/* Signals are the main thread's. */
static bool start_threads(beast_engine *engine)
{
    sigset_t all, before;
    bool good = true;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 0; good && i < engine->config.workers; i++) {
        beast_worker *worker = &engine->workers[i];
        if (worker->batch)
            good = worker->udp_runs = start_thread(worker, &worker->udp_thread, run_udp, "beast-udp");
        if (good && worker->http)
            good = worker->http_runs = start_thread(worker, &worker->http_thread, run_http, "beast-http");
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return good;
}

beast_status beast_engine_start(beast_engine *engine, const char **where)
{
    beast_status status;
    int error;

    if (engine->state != BEAST_MADE)
        return BEAST_WRONG_STATE;
    *where = "udp";
    status = open_udp(engine);
    if (status == BEAST_OK) {
        *where = "http";
        status = open_http(engine);
    }
    if (status == BEAST_OK) {
        *where = "thread";
        engine->state = BEAST_RUNNING;
        if (start_threads(engine))
            return BEAST_OK;
        error = errno;
        beast_engine_stop(engine, INT64_C(1000000000));
        errno = error;
        return BEAST_SYSTEM;
    }
    error = errno;
    close_sockets(engine);
    engine->udp_port = engine->http_port = -1;
    errno = error;
    return status;
}

/* ---- stopping ---- */

static bool join(pthread_t thread, bool *runs, const struct timespec *until)
{
    if (*runs && pthread_timedjoin_np(thread, NULL, until) == 0)
        *runs = false;
    return !*runs;
}

static bool join_all(beast_engine *engine, int64_t timeout_ns)
{
    bool all = true;
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    timeout_ns += until.tv_nsec;
    until.tv_sec += timeout_ns / 1000000000;
    until.tv_nsec = timeout_ns % 1000000000;
    for (uint32_t i = 0; i < engine->config.workers; i++) {
        beast_worker *worker = &engine->workers[i];
        all &= join(worker->udp_thread, &worker->udp_runs, &until);
        all &= join(worker->http_thread, &worker->http_runs, &until);
    }
    return all;
}

static void tell_parked(beast_engine *engine)
{
    beast_moment moment = beast_moment_now();
    beast_miss miss;

    for (uint32_t i = 0; i < engine->config.workers; i++)
        while (engine->workers[i].batch && beast_miss_take(engine->lanes[i].misses, &miss))
            beast_engine_resume(engine, &miss, &moment);
}

beast_status beast_engine_stop(beast_engine *engine, int64_t timeout_ns)
{
    if (engine->state != BEAST_RUNNING)
        return BEAST_WRONG_STATE;
    for (uint32_t i = 0; i < engine->config.workers; i++)
        if (engine->workers[i].udp_runs)
            beast_udp_refuse(engine->workers[i].udp_fd);
    atomic_store(&engine->deadline_ns, beast_moment_now().now_ns + timeout_ns);
    atomic_store(&engine->shared.draining, 1);
    if (!join_all(engine, timeout_ns + LEAVE_NS))
        return BEAST_TIMED_OUT;
    tell_parked(engine);
    close_sockets(engine);
    engine->state = BEAST_STOPPED;
    return BEAST_OK;
}
