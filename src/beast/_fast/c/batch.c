#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer_text.h"

beast_batch *beast_batch_new(beast_lane *lane, int fd)
{
    size_t size = (sizeof(beast_batch) + BEAST_CACHE_LINE - 1) / BEAST_CACHE_LINE * BEAST_CACHE_LINE;
    beast_batch *batch = aligned_alloc(BEAST_CACHE_LINE, size);

    if (!batch)
        return NULL;
    memset(batch, 0, size);
    batch->lane = lane;
    batch->fd = fd;
    batch->fd_lane = lane->number;
    beast_incoming_init(&batch->in);
    beast_outgoing_init(&batch->out);
    for (uint32_t i = 0; i < BEAST_BATCH; i++)
        batch->request[i].scratch = batch->scratch[i];
    return batch;
}

void beast_batch_free(beast_batch *batch)
{
    free(batch);
}

void beast_batch_put(beast_batch *batch, const uint8_t *datagram, size_t len, const struct sockaddr *peer)
{
    socklen_t peer_len = peer->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    if (len > BEAST_DATAGRAM_MAX + 1)
        len = BEAST_DATAGRAM_MAX + 1;
    memcpy(batch->in.bytes[0], datagram, len);
    memcpy(&batch->in.peer[0], peer, peer_len);
    batch->in.head[0].msg_hdr.msg_namelen = peer_len;
    batch->in.head[0].msg_len = (unsigned int)len;
}

void beast_batch_parse(beast_batch *batch, uint32_t n)
{
    batch->tally.received += n;
    for (uint32_t i = 0; i < n; i++) {
        beast_request_parse(batch->in.bytes[i], batch->in.head[i].msg_len, &batch->request[i]);
        beast_answer_prefetch(batch->lane, &batch->request[i], &batch->lookup[i]);
    }
}

/* Where the next answer goes. */
static inline uint8_t *next_answer(beast_batch *batch)
{
    if (batch->out.count == BEAST_BATCH)
        beast_batch_send(batch);
    return batch->out.bytes[batch->out.count];
}

static inline void push(beast_batch *batch, uint32_t i, uint32_t len)
{
    uint32_t at = batch->out.count++;

    batch->out.head[at].msg_hdr.msg_name = &batch->in.peer[i];
    batch->out.head[at].msg_hdr.msg_namelen = batch->in.head[i].msg_hdr.msg_namelen;
    batch->out.part[at].iov_len = len;
}

static inline uint32_t pad(uint8_t *out, uint32_t len)
{
    uint32_t full = BEAST_ANSWER_PAD;

    if (len > full)
        full = (len + BEAST_ANSWER_PAD_STEP - 1) / BEAST_ANSWER_PAD_STEP * BEAST_ANSWER_PAD_STEP;
    for (; len < full; len += 32)
        memset(out + len, ' ', 32); /* a fixed size, a little past the end: cheaper than the exact one */
    return full;
}

/* Section 4: an entry opens a new part when the current one, closed, would exceed the limit. */
static uint32_t cut(const beast_reply *reply, uint32_t closing, uint32_t from[], uint32_t to[])
{
    const uint32_t opening = sizeof("{\"prices\":[") - 1;
    uint32_t parts = 0;

    for (uint32_t i = 0; i < reply->entries; i++) {
        uint32_t start = i ? reply->entry_end[i - 1] + 1u : opening;
        if (i == 0 || opening + (reply->entry_end[i] - from[parts - 1]) + closing > BEAST_ANSWER_MAX)
            from[parts++] = start;
        to[parts - 1] = reply->entry_end[i];
    }
    return parts;
}

static void push_parts(beast_batch *batch, uint32_t i, const beast_reply *reply)
{
    const beast_request *req = &batch->request[i];
    uint32_t from[BEAST_ASSETS_MAX], to[BEAST_ASSETS_MAX];
    uint32_t id_len = req->id.ptr ? (uint32_t)sizeof(",\"id\":") - 1 + req->id.len : 0;
    uint32_t parts = cut(reply, (uint32_t)sizeof("],\"part\":99,\"parts\":99}") - 1 + id_len, from, to);

    for (uint32_t part = 0; part < parts; part++) {
        uint8_t *start = next_answer(batch), *out = BEAST_PUT(start, "{\"prices\":[");
        out = beast_put_bytes(out, batch->body + from[part], to[part] - from[part]);
        out = BEAST_PUT(out, "],\"part\":");
        out = beast_put_number(out, part + 1, 0);
        out = BEAST_PUT(out, ",\"parts\":");
        out = beast_put_number(out, parts, 0);
        out = beast_put_id(out, req);
        *out++ = '}';
        push(batch, i, (uint32_t)(out - start));
    }
}

static bool park(beast_batch *batch, uint32_t i, const beast_reply *reply, const beast_moment *moment)
{
    const struct mmsghdr *head = &batch->in.head[i];
    const beast_shared *shared = batch->lane->shared;
    beast_miss *miss = beast_miss_claim(batch->lane->misses);

    if (!miss)
        return false;
    miss->deadline_ns = moment->now_ns + atomic_load_explicit(&shared->park_ns, memory_order_relaxed);
    miss->lane = batch->fd_lane;
    miss->key_number = beast_key_number(shared->keys, reply->key);
    miss->peer_len = head->msg_hdr.msg_namelen;
    memcpy(&miss->peer, &batch->in.peer[i], miss->peer_len);
    miss->len = (uint16_t)head->msg_len;
    memcpy(miss->datagram, batch->in.bytes[i], miss->len);
    return true;
}

/* A socket that serves both families sees IPv4 sources inside ::ffff:0:0/96; they are limited as what they are. */
static bool source_allowed(const beast_batch *batch, const beast_peer *peer, const beast_moment *moment)
{
    beast_peer plain = *peer;

    if (peer->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer->v6.sin6_addr)) {
        plain.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = peer->v6.sin6_port};
        memcpy(&plain.v4.sin_addr, peer->v6.sin6_addr.s6_addr + 12, sizeof plain.v4.sin_addr);
    }
    return beast_source_allow(batch->lane->shared->sources, &plain.any, moment->now_ns);
}

/* Beast is no amplifier: without a proven key no answer is longer than its request, or comes too often. */
static bool may_tell(beast_batch *batch, uint32_t i, const beast_moment *moment, uint8_t *out, beast_reply *reply)
{
    if (reply->len > batch->in.head[i].msg_len)
        reply->len = beast_answer_error(&batch->request[i], reply->result, reply->retry_ns, false, out);
    if (reply->len > batch->in.head[i].msg_len)
        return false;
    if (source_allowed(batch, &batch->in.peer[i], moment))
        return true;
    batch->tally.source_limited++;
    return false;
}

void beast_batch_answer(beast_batch *batch, uint32_t i, beast_key *admitted, const beast_moment *moment)
{
    const beast_request *req = &batch->request[i];
    uint8_t *out = next_answer(batch), *body = req->many ? batch->body : out;
    beast_tally *tally = &batch->tally;
    beast_reply reply;

    beast_answer_body(batch->lane, req, &batch->lookup[i], admitted, moment, body, &reply);
    if (reply.missed) {
        if (park(batch, i, &reply, moment)) {
            tally->parked++;
            return;
        }
        tally->miss_overflows++;
        reply.result = BEAST_RESULT_UNAVAILABLE;
        reply.entries = 0;
        reply.len = beast_answer_error(req, reply.result, 0, true, body);
    }
    if (!reply.proven && !may_tell(batch, i, moment, body, &reply)) {
        tally->ignored++;
        return;
    }
    if (reply.result == BEAST_RESULT_ANSWERED)
        tally->answered++;
    else
        tally->refused++;
    if (reply.entries) {
        push_parts(batch, i, &reply);
        return;
    }
    if (req->many)
        memcpy(out, body, reply.len);
    push(batch, i, reply.result == BEAST_RESULT_ANSWERED ? pad(out, reply.len) : reply.len);
}

void beast_batch_send(beast_batch *batch)
{
    uint32_t count = batch->out.count, sent;

    if (count == 0)
        return;
    sent = beast_udp_send(batch->fd, &batch->out);
    batch->tally.sent += sent;
    batch->tally.unsent += count - sent;
}

static void count_all(beast_counters *block, const beast_tally *tally)
{
    beast_count(block, BEAST_COUNTER_udp_requests, tally->received);
    beast_count(block, BEAST_COUNTER_udp_packets_received, tally->received);
    beast_count(block, BEAST_COUNTER_udp_packets_sent, tally->sent);
    beast_count(block, BEAST_COUNTER_udp_answered, tally->answered);
    beast_count(block, BEAST_COUNTER_udp_refused, tally->refused);
    beast_count(block, BEAST_COUNTER_udp_ignored, tally->ignored);
    beast_count(block, BEAST_COUNTER_udp_parked, tally->parked - tally->resumed); /* counts wrap, their sum doesn't */
    beast_count(block, BEAST_COUNTER_udp_send_errors, tally->unsent);
    beast_count(block, BEAST_COUNTER_udp_kernel_drops, tally->kernel_drops);
    beast_count(block, BEAST_COUNTER_udp_packets_dropped, tally->kernel_drops);
    beast_count(block, BEAST_COUNTER_source_limited, tally->source_limited);
    beast_count(block, BEAST_COUNTER_miss_overflows, tally->miss_overflows);
}

void beast_batch_publish(beast_batch *batch)
{
    beast_usage_publish(batch->lane->usage);
    if (batch->tally.parked) {
        const uint64_t one = 1;
        beast_miss_publish(batch->lane->misses);
        while (write(batch->lane->shared->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    count_all(&batch->lane->counters, &batch->tally);
    batch->tally = (beast_tally){0};
}
