#include "engine_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "usage_send.h"

#define HANDOVER_RING 1024

static bool config_is_good(const beast_engine_config *config)
{
    size_t node_len = strlen(config->node);

    for (size_t i = 0; i < node_len; i++)
        if (config->node[i] < ' ' || config->node[i] > '~' || config->node[i] == '"' || config->node[i] == '\\')
            return false;
    return node_len > 0 && node_len <= BEAST_NODE_MAX && strlen(config->host) < sizeof((beast_engine *)0)->host &&
           config->workers >= 1 && config->workers <= BEAST_ENGINE_WORKERS_MAX && config->udp_port <= UINT16_MAX &&
           config->http_port <= UINT16_MAX && config->spin_ns >= 0 && config->spin_ns <= BEAST_SPIN_MAX_NS;
}

static beast_status open_shared(beast_engine *engine)
{
    const beast_engine_config *config = &engine->config;
    beast_shared *shared = &engine->shared;

    shared->prices = beast_price_table_new(config->max_instruments);
    shared->keys = beast_key_table_new(config->max_keys);
    shared->sources = beast_source_limit_new(config->source_per_second);
    engine->config.http.latency_sample = config->latency_sample;
    engine->config.http.sources = beast_http_sources_new(config->http_connections_per_source);
    shared->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    shared->usage_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    beast_rests_build(shared->rests, config->node);
    atomic_init(&shared->ttl_ns, config->ttl_ns);
    if (shared->wake_fd < 0 || shared->usage_fd < 0)
        return BEAST_SYSTEM;
    return shared->prices && shared->keys && shared->sources && config->http.sources ? BEAST_OK : BEAST_NO_MEMORY;
}

static beast_protocol protocol_of(const beast_engine *engine, uint32_t lane)
{
    if (lane + 1 == engine->n_lanes)
        return BEAST_PROTOCOL_ASGI;
    return lane < engine->config.workers ? BEAST_PROTOCOL_UDP : BEAST_PROTOCOL_HTTP;
}

static beast_status open_lanes(beast_engine *engine)
{
    const beast_lane_sizes sizes = {engine->config.usage_ring, engine->config.miss_ring, HANDOVER_RING,
                                    engine->config.usage_folder, engine->config.boot};
    uint32_t workers = engine->config.workers, n = 2 * workers + 1;

    engine->lanes = aligned_alloc(BEAST_CACHE_LINE, n * sizeof *engine->lanes);
    engine->workers = calloc(workers, sizeof *engine->workers);
    if (!engine->lanes || !engine->workers)
        return BEAST_NO_MEMORY;
    memset(engine->lanes, 0, n * sizeof *engine->lanes);
    engine->n_lanes = n;
    for (uint32_t i = 0; i < n; i++) {
        beast_status status =
            beast_lane_open(&engine->lanes[i], &engine->shared, (uint8_t)i, protocol_of(engine, i), &sizes);
        if (status)
            return status;
        engine->shared.readers.reader[i] = &engine->lanes[i].reader;
    }
    engine->shared.readers.count = n;
    for (uint32_t i = 0; i < workers; i++)
        engine->workers[i] = (beast_worker){.engine = engine, .number = i, .udp_fd = -1, .http_fd = -1};
    engine->own = beast_batch_new(&engine->lanes[n - 1], -1, false);
    return engine->own ? BEAST_OK : BEAST_NO_MEMORY;
}

beast_engine *beast_engine_new(const beast_engine_config *config)
{
    beast_engine *engine;

    if (!config_is_good(config)) {
        errno = EINVAL;
        return NULL;
    }
    engine = aligned_alloc(BEAST_CACHE_LINE, (sizeof *engine + BEAST_CACHE_LINE - 1) & ~(size_t)(BEAST_CACHE_LINE - 1));
    if (!engine)
        return NULL;
    memset(engine, 0, sizeof *engine);
    engine->config = *config;
    engine->udp_port = engine->http_port = -1;
    engine->shared.wake_fd = engine->shared.usage_fd = -1;
    memcpy(engine->host, config->host, strlen(config->host) + 1);
    beast_status status = open_shared(engine);
    if (status == BEAST_OK)
        status = open_lanes(engine);
    if (status != BEAST_OK) {
        int error = status == BEAST_SYSTEM ? errno : ENOMEM;
        beast_engine_free(engine);
        errno = error;
        return NULL;
    }
    engine->config.node = engine->config.host = engine->config.usage_folder = NULL; /* the caller's memory */
    return engine;
}

void beast_engine_free(beast_engine *engine)
{
    if (!engine)
        return;
    for (uint32_t i = 0; i < engine->n_lanes; i++)
        beast_lane_close(&engine->lanes[i]);
    beast_batch_free(engine->own);
    beast_http_sources_free(engine->config.http.sources);
    beast_source_limit_free(engine->shared.sources);
    beast_key_table_free(engine->shared.keys);
    beast_price_table_free(engine->shared.prices);
    if (engine->shared.wake_fd >= 0)
        close(engine->shared.wake_fd);
    if (engine->shared.usage_fd >= 0)
        close(engine->shared.usage_fd);
    free(engine->workers);
    free(engine->lanes);
    free(engine);
}

/* ---- the main thread's own requests ---- */

/* The main thread's own answers are sent by others, who don't say when. */
static void count_as_sent(beast_lane *lane)
{
    uint32_t n = beast_usage_unsent(lane->usage);

    beast_usage_sent(lane->usage, n, 0);
    beast_count(&lane->counters, BEAST_COUNTER_usage_records, n);
}

/* By UDP. */
static void serve_own(beast_engine *engine, const uint8_t *datagram, size_t len, const struct sockaddr *peer,
                      beast_key *admitted, const beast_moment *moment)
{
    beast_incoming_put(&engine->own->in, 0, datagram, len, peer);
    beast_incoming_begin(&engine->own->in, 1);
    engine->own->lane->asked_by = BEAST_PROTOCOL_UDP;
    beast_batch_serve(engine->own, admitted, moment);
    engine->own->lane->asked_by = engine->own->lane->protocol;
}

uint32_t beast_engine_ask(beast_engine *engine, const uint8_t *datagram, size_t len, const struct sockaddr *peer,
                          const beast_moment *moment, uint8_t *out, size_t out_size, uint32_t *lens,
                          uint32_t max_lens)
{
    beast_batch *own = engine->own;
    uint32_t n;

    serve_own(engine, datagram, len, peer, NULL, moment);
    for (n = 0; n < own->out.count && n < max_lens && own->out.part[n].iov_len <= out_size; n++) {
        lens[n] = (uint32_t)own->out.part[n].iov_len;
        memcpy(out, own->out.part[n].iov_base, lens[n]);
        out += lens[n];
        out_size -= lens[n];
    }
    own->tally.sent = n;
    own->tally.unsent = own->out.count - n;
    beast_outgoing_clear(&own->out);
    count_as_sent(own->lane);
    beast_batch_publish(own);
    return n;
}

void beast_engine_query(beast_engine *engine, const beast_request *req, beast_query_turn turn,
                        const struct sockaddr *peer, const beast_moment *moment, uint8_t *out, beast_reply *reply,
                        beast_usage *bill)
{
    beast_lane *lane = engine->own->lane;
    beast_key *admitted = NULL;
    beast_lookup lookup = {.peer = peer, .fd = -1};

    beast_reader_enter(&lane->reader);
    beast_answer_prefetch(lane, req, &lookup);
    if (turn == BEAST_QUERY_AGAIN && !req->fault)
        admitted = beast_key_find(lane->keys, engine->shared.keys, &lookup.key);
    lane->waits = turn == BEAST_QUERY_FIRST;
    beast_answer_body(lane, req, &lookup, admitted, moment, out, reply);
    lane->waits = false;
    beast_reader_leave(&lane->reader);
    if (bill && reply->recorded) {
        *bill = *beast_usage_at(lane->usage, 0);
        beast_usage_drop(lane->usage, 1);
        return;
    }
    count_as_sent(lane);
    beast_usage_wake(lane->usage, lane->shared->usage_fd);
}

static void publish_bill(beast_lane *lane, bool claimed, int64_t received_ns)
{
    if (!claimed) {
        beast_usage_lose(lane->usage);
        beast_count(&lane->counters, BEAST_COUNTER_usage_lost, 1);
        return;
    }
    beast_usage_received(lane->usage, received_ns);
    beast_lane_sent(lane, 1);
    beast_usage_wake(lane->usage, lane->shared->usage_fd);
}

void beast_engine_pay(beast_engine *engine, const beast_usage *bill, int64_t received_ns)
{
    beast_lane *lane = engine->own->lane;

    publish_bill(lane, beast_usage_claim_again(lane->usage, bill), received_ns);
}

ssize_t beast_engine_deliver(beast_engine *engine, const beast_usage *bill, int64_t received_ns, int fd, uint8_t *bytes,
                             uint32_t len)
{
    beast_lane *lane = engine->own->lane;
    bool claimed = beast_usage_claim_again(lane->usage, bill);

    beast_usage_flight(lane->usage)->end[0] = len;
    ssize_t sent = beast_usage_send(lane->usage, fd, bytes, len, claimed, MSG_DONTWAIT);
    if (sent == (ssize_t)len) {
        publish_bill(lane, claimed, received_ns);
        return sent;
    }
    int error = errno;
    if (claimed)
        beast_usage_drop(lane->usage, 1);
    return sent < 0 && (error == EAGAIN || error == EINTR) ? 0 : sent;
}

void beast_engine_forgive(beast_engine *engine, const beast_usage *bill)
{
    beast_lane_refund(engine->own->lane, bill, 1);
}

beast_status beast_engine_resume(beast_engine *engine, const beast_miss *miss, const beast_moment *moment)
{
    beast_batch *own = engine->own;

    if (engine->state != BEAST_RUNNING)
        return BEAST_WRONG_STATE;
    if (miss->lane >= engine->config.workers || engine->workers[miss->lane].udp_fd < 0)
        return BEAST_BAD_ARGUMENT;
    own->fd = engine->workers[miss->lane].udp_fd;
    serve_own(engine, miss->datagram, miss->len, (const struct sockaddr *)&miss->peer,
              beast_key_by_number(engine->shared.keys, miss->key_number), moment);
    beast_usage_received(own->lane->usage, miss->received_ns);
    beast_batch_send(own);
    own->tally.received = 0; /* it was counted when it came */
    own->tally.resumed = 1;
    beast_batch_publish(own);
    beast_histogram_add(&own->lane->parked, beast_moment_now().now_ns - miss->received_ns);
    return BEAST_OK;
}

/* ---- what it is ---- */

int beast_engine_udp_port(const beast_engine *engine)
{
    return engine->udp_port;
}

int beast_engine_http_port(const beast_engine *engine)
{
    return engine->http_port;
}

beast_udp_features beast_engine_udp_features(const beast_engine *engine)
{
    return engine->udp;
}

bool beast_engine_running(const beast_engine *engine)
{
    return engine->state == BEAST_RUNNING;
}

beast_shared *beast_engine_shared(beast_engine *engine)
{
    return &engine->shared;
}

beast_http_sources *beast_engine_http_sources(beast_engine *engine)
{
    return engine->config.http.sources;
}

uint32_t beast_engine_lanes(const beast_engine *engine)
{
    return engine->n_lanes;
}

beast_lane *beast_engine_lane(beast_engine *engine, uint32_t number)
{
    return &engine->lanes[number];
}
