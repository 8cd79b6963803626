#include "batch.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "answer_lookup.h"
#include "answer_plain.h"
#include "key_recall.h"

beast_batch *beast_batch_new(beast_lane *lane, int fd, bool merges)
{
    /* Zero pages that come as they are touched: most of the receive buffers never are. */
    void *memory = mmap(NULL, sizeof(beast_batch), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    beast_batch *batch = memory;

    if (memory == MAP_FAILED)
        return NULL;
    batch->lane = lane;
    batch->fd = fd;
    batch->fd_lane = lane->number;
    beast_incoming_init(&batch->in);
    beast_outgoing_init(&batch->out, merges, beast_usage_flight(lane->usage));
    for (uint32_t i = 0; i < BEAST_BATCH; i++)
        batch->request[i].scratch = batch->scratch[i];
    return batch;
}

void beast_batch_free(beast_batch *batch)
{
    if (batch)
        munmap(batch, sizeof *batch);
}

/* Where the next answer goes. */
static inline uint8_t *next_answer(beast_batch *batch)
{
    if (!beast_outgoing_has_room(&batch->out))
        beast_batch_send(batch);
    return batch->out.end;
}

static inline void push(beast_batch *batch, uint32_t i, uint32_t len, bool recorded)
{
    beast_outgoing_add(&batch->out, batch->datagram[i].peer, len, recorded);
}

/* A price's answer brings its spaces up to the first of the lengths. */
static inline uint32_t pad(uint8_t *out, uint32_t len)
{
    if (len <= BEAST_ANSWER_PAD)
        return BEAST_ANSWER_PAD;
    memset(out + len, ' ', BEAST_ANSWER_PAD_STEP);
    return (len + BEAST_ANSWER_PAD_STEP - 1) / BEAST_ANSWER_PAD_STEP * BEAST_ANSWER_PAD_STEP;
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
        out = beast_put_close(out, req);
        push(batch, i, (uint32_t)(out - start), reply->recorded && part + 1 == parts);
    }
}

static bool park(beast_batch *batch, uint32_t i, const beast_reply *reply, const beast_moment *moment)
{
    const beast_datagram *datagram = &batch->datagram[i];
    const beast_shared *shared = batch->lane->shared;
    beast_miss *miss = beast_miss_claim(batch->lane->misses);

    if (!miss)
        return false;
    miss->received_ns = moment->now_ns;
    miss->deadline_ns = moment->now_ns + atomic_load_explicit(&shared->park_ns, memory_order_relaxed);
    miss->lane = batch->fd_lane;
    miss->key_number = beast_key_number(shared->keys, reply->key);
    miss->peer_len = sizeof *datagram->peer;
    memcpy(&miss->peer, datagram->peer, sizeof *datagram->peer);
    miss->len = (uint16_t)datagram->len; /* a longer one is a bad_request and never missed */
    memcpy(miss->datagram, datagram->bytes, miss->len);
    return true;
}

/* Beast is no amplifier: without a proven key no answer is longer than its request, or comes too often. */
static bool may_tell(beast_batch *batch, uint32_t i, const beast_moment *moment, uint8_t *out, beast_reply *reply)
{
    if (reply->len > batch->datagram[i].len)
        reply->len = beast_answer_error(&batch->request[i], reply->result, reply->retry_ns, false, out);
    if (reply->len > batch->datagram[i].len)
        return false;
    switch (beast_source_ask(batch->lane->shared->sources, &batch->unproven, &batch->datagram[i].peer->any,
                             moment->now_ns)) {
    case BEAST_SOURCE_LIMITED:
        batch->tally.source_limited++;
        return false;
    case BEAST_SOURCE_DRY_RUN:
        batch->tally.source_dry_run++;
        return true;
    default:
        return true;
    }
}

/* The slower tiers can't be asked: who takes a stale price has it, all others are told to come again. */
static void make_do(beast_batch *batch, uint32_t i, const beast_moment *moment, uint8_t *body, beast_reply *reply)
{
    const beast_request *req = &batch->request[i];

    batch->tally.miss_overflows++;
    if (req->allow_stale)
        beast_answer_body(batch->lane, req, &batch->lookup[i], reply->key, moment, body, reply);
    if (req->allow_stale && reply->result == BEAST_RESULT_ANSWERED)
        return;
    reply->result = BEAST_RESULT_UNAVAILABLE;
    reply->entries = 0;
    reply->len = beast_answer_error(req, reply->result, 0, true, body);
}

/* What came of a request, counted and made ready to be sent: `out` is where that is to stand, `body` where it stands. */
static void finish(beast_batch *batch, uint32_t i, const beast_moment *moment, uint8_t *out, uint8_t *body,
                   beast_reply *reply)
{
    beast_tally *tally = &batch->tally;

    if (!reply->proven && !may_tell(batch, i, moment, body, reply)) {
        tally->ignored++;
        return;
    }
    if (reply->result == BEAST_RESULT_ANSWERED)
        tally->answered++;
    else
        tally->refused++;
    if (reply->entries) {
        push_parts(batch, i, reply);
        return;
    }
    if (body != out)
        memcpy(out, body, reply->len);
    push(batch, i, reply->result == BEAST_RESULT_ANSWERED ? pad(out, reply->len) : reply->len, reply->recorded);
}

static void __attribute__((noinline)) answer_any(beast_batch *batch, uint32_t i, beast_key *admitted,
                                                 const beast_moment *moment)
{
    const beast_request *req = &batch->request[i];
    uint8_t *out = batch->out.end, *body = req->many ? batch->body : out;
    beast_reply reply;

    beast_answer_body(batch->lane, req, &batch->lookup[i], admitted, moment, body, &reply);
    if (reply.missed) {
        if (park(batch, i, &reply, moment)) {
            batch->tally.parked++;
            return;
        }
        make_do(batch, i, moment, body, &reply);
    }
    finish(batch, i, moment, out, body, &reply);
}

static inline void answer(beast_batch *batch, uint32_t i, beast_key *admitted, const beast_plain *plain)
{
    beast_reply reply;
    uint32_t len = 0;
    uint8_t *out = next_answer(batch);

    switch (beast_answer_plain(plain, &batch->request[i], &batch->lookup[i], out, &len, &reply)) {
    case BEAST_PLAIN_ANSWERED:
        batch->tally.plain++;
        push(batch, i, pad(out, len), true);
        break;
    case BEAST_PLAIN_REFUSED:
        finish(batch, i, &plain->moment, out, out, &reply);
        break;
    case BEAST_PLAIN_NOT:
        answer_any(batch, i, admitted, &plain->moment);
    }
}

static void dismiss(beast_tally *tally)
{
    tally->ignored++;
    tally->source_limited++;
}

/* A source over its limit may be many clients behind one address, and a key that this lane has never seen may be good:
 * a bounded number of them, ten thousand a second, gets the benefit of the doubt. */
static bool grant_doubt(beast_batch *batch, int64_t now_ns)
{
    const int64_t interval_ns = 100000, burst_ns = 100000000;

    if (batch->benefit_ns - now_ns > burst_ns)
        return false;
    batch->benefit_ns = (batch->benefit_ns > now_ns ? batch->benefit_ns : now_ns) + interval_ns;
    return true;
}

/* The next datagrams, read, and what they ask for on its way into the cache. Each step has all registers to itself. */
static uint32_t __attribute__((noinline)) take(beast_batch *batch, const beast_layout *layout)
{
    beast_key_cache *keys = batch->lane->keys;
    beast_incoming_cursor cursor = batch->in.cursor;
    uint32_t n = 0;

    for (; n < BEAST_BATCH && beast_incoming_next(&batch->in, &cursor, &batch->datagram[n]); n++) {
        beast_request_parse(batch->datagram[n].bytes, batch->datagram[n].len, &batch->request[n]);
        batch->lookup[n].peer = &batch->datagram[n].peer->any;
        beast_lookup_begin(keys, layout, &batch->request[n], &batch->lookup[n]);
    }
    batch->in.cursor = cursor;
    return n;
}

/* Overlaps what look-ups of keys would wait for one after the other. Beyond that benefit, a key that this lane has never
 * seen, of a source over its limit, is not even hashed: a flood of such costs next to nothing. Returns those, one bit
 * each: they get no answer. */
static uint32_t __attribute__((noinline)) prepare(beast_batch *batch, uint32_t n, const beast_key *admitted, const beast_moment *moment)
{
    static_assert(BEAST_BATCH <= 32, "a bit for each");
    const beast_shared *shared = batch->lane->shared;
    const beast_key_table *keys = shared->keys;
    uint32_t unseen = 0, dismissed = 0;

    for (uint32_t i = 0; i < n; i++) {
        beast_key_search *key = &batch->lookup[i].key;
        if (!key->literal.ptr || beast_key_recall_inline(keys, key))
            continue;
        if (!admitted && beast_source_is_over(shared->sources, &batch->datagram[i].peer->any, moment->now_ns) &&
            !grant_doubt(batch, moment->now_ns)) {
            dismissed |= UINT32_C(1) << i;
            continue;
        }
        beast_key_digest(keys, key);
        unseen++;
    }
    for (uint32_t i = 0; i < n && unseen; i++)
        beast_key_prefetch_record(keys, &batch->lookup[i].key);
    for (uint32_t i = 0; i < n && admitted; i++)
        batch->lookup[i].slot = NULL; /* only the long way knows what that means */
    return dismissed;
}

void beast_batch_serve(beast_batch *batch, beast_key *admitted, const beast_moment *moment)
{
    uint32_t n;

    beast_usage_received(batch->lane->usage, moment->now_ns);
    beast_reader_enter(&batch->lane->reader);
    const beast_plain plain = beast_plain_begin(batch->lane, moment);
    const beast_layout *layout = beast_layout_now(plain.prices);
    while ((n = take(batch, layout)) != 0) {
        uint32_t dismissed = prepare(batch, n, admitted, moment);
        batch->tally.received += n;
        for (uint32_t i = 0; i < n; i++)
            if (__builtin_expect(dismissed >> i & 1, 0))
                dismiss(&batch->tally);
            else
                answer(batch, i, admitted, &plain);
    }
    beast_reader_leave(&batch->lane->reader);
}

/* During each system call the lane's ring says what is in flight: flight.h tells why. */
void beast_batch_send(beast_batch *batch)
{
    beast_outgoing *out = &batch->out;
    beast_lane *lane = batch->lane;
    beast_send_step step;

    while (beast_outgoing_waits(out)) {
        beast_usage_sending(lane->usage, beast_outgoing_ready(out));
        switch (beast_udp_send_step(batch->fd, out, &step)) {
        case BEAST_SEND_TAKEN:
            beast_lane_sent(lane, step.records);
            batch->tally.sent += step.datagrams;
            break;
        case BEAST_SEND_LATER:
            beast_usage_sending(lane->usage, 0);
            beast_udp_wait(batch->fd);
            break;
        case BEAST_SEND_REFUSED:
            beast_lane_unsent(lane, step.records);
            batch->tally.unsent += step.datagrams;
            break;
        }
    }
    beast_outgoing_clear(out);
}

static void count_all(beast_counters *block, const beast_tally *tally)
{
    beast_count(block, BEAST_COUNTER_udp_requests, tally->received);
    beast_count(block, BEAST_COUNTER_udp_packets_received, tally->received);
    beast_count(block, BEAST_COUNTER_udp_packets_sent, tally->sent);
    beast_count(block, BEAST_COUNTER_udp_answered, tally->plain + tally->answered);
    beast_count(block, BEAST_COUNTER_syncmap_hits, tally->plain);
    beast_count(block, BEAST_COUNTER_udp_refused, tally->refused);
    beast_count(block, BEAST_COUNTER_udp_ignored, tally->ignored);
    beast_count(block, BEAST_COUNTER_udp_parked, tally->parked - tally->resumed); /* counts wrap, their sum doesn't */
    beast_count(block, BEAST_COUNTER_udp_send_errors, tally->unsent);
    beast_count(block, BEAST_COUNTER_udp_kernel_drops, tally->kernel_drops);
    beast_count(block, BEAST_COUNTER_udp_packets_dropped, tally->kernel_drops);
    beast_count(block, BEAST_COUNTER_source_limited, tally->source_limited);
    beast_count(block, BEAST_COUNTER_source_dry_run, tally->source_dry_run);
    beast_count(block, BEAST_COUNTER_miss_overflows, tally->miss_overflows);
}

void beast_batch_publish(beast_batch *batch)
{
    beast_usage_wake(batch->lane->usage, batch->lane->shared->usage_fd);
    if (batch->tally.parked) {
        const uint64_t one = 1;
        beast_miss_publish(batch->lane->misses);
        while (write(batch->lane->shared->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    count_all(&batch->lane->counters, &batch->tally);
    batch->tally = (beast_tally){0};
}
