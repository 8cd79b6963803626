#include "answer_text.h"

/* What one asset's look-up came to. Without a price to answer, `price` is the one to tell as `last`, if any. */
typedef struct beast_pick {
    beast_result result;
    beast_state state;
    const beast_slot *slot; /* NULL: no price */
    uint64_t age_ms;
    beast_price price;
} beast_pick;

/* One request on its way through the steps below. */
typedef struct beast_asking {
    beast_lane *lane;
    const beast_request *req;
    const beast_moment *moment;
    const beast_lookup *lookup;
    int64_t ttl_ns;
    uint32_t prices;  /* found so far; of the first one: */
    uint32_t instrument, age_ms;
    uint8_t state, tier;
} beast_asking;

static uint64_t age_of(const beast_price *price, int64_t now_ns)
{
    int64_t age_ns = now_ns - price->received_ns;
    return age_ns > 0 ? (uint64_t)age_ns / 1000000 : 0; /* a trade may be younger than the batch's clock */
}

/* Section 3 of the protocol: the first live candidate, else the first quiet one, else the last received.
 * A candidate too old for max_age_ms ranks as stale: it can't answer, but it can be `last`. Among those the last
 * received is the youngest, so if it exceeds max_age_ms, all do, and if it doesn't, it is really stale. */
static void choose(const beast_asking *ask, const beast_slot *slot, uint32_t count, beast_pick *pick)
{
    beast_price_table *table = ask->lane->shared->prices;
    uint64_t max_age_ms = (uint64_t)ask->req->max_age_ms; /* -1, absent, becomes the greatest */
    beast_price price;

    pick->slot = NULL;
    for (; count-- > 0; slot = beast_slot_next(slot)) {
        if (!beast_slot_read(slot, &price))
            continue;
        uint64_t age_ms = age_of(&price, ask->moment->now_ns);
        beast_state state = BEAST_STATE_STALE;
        if (age_ms <= max_age_ms)
            state = beast_price_state(&price, beast_table_link(table, price.link), ask->moment->now_ns, ask->ttl_ns);
        if (pick->slot && state >= pick->state &&
            (pick->state != BEAST_STATE_STALE || price.received_ns <= pick->price.received_ns))
            continue;
        pick->slot = slot;
        pick->state = state;
        pick->age_ms = age_ms;
        pick->price = price;
        if (state == BEAST_STATE_LIVE)
            break;
    }
}

/* Chooses, and puts the chosen one's text to `out`. */
static void look_up(beast_asking *ask, const beast_name *asset, uint64_t place_hash, uint8_t *out, beast_pick *pick)
{
    uint32_t count;
    const beast_slot *first = beast_layout_find(ask->lookup->layout, ask->lookup->exchange, asset, place_hash, &count);

    pick->slot = NULL;
    pick->result = BEAST_RESULT_UNKNOWN_ASSET;
    if (!first)
        return;
    do
        choose(ask, first, count, pick);
    while (pick->slot && !beast_slot_text(pick->slot, &pick->price, out));
    pick->result = BEAST_RESULT_STALE;
    if (!pick->slot || (pick->state == BEAST_STATE_STALE &&
                        !(ask->req->allow_stale && pick->age_ms <= (uint64_t)ask->req->max_age_ms)))
        return;
    pick->result = BEAST_RESULT_ANSWERED;
    if (ask->prices++)
        return;
    ask->instrument = beast_slot_id(pick->slot);
    ask->age_ms = pick->age_ms < UINT32_MAX ? (uint32_t)pick->age_ms : UINT32_MAX;
    ask->state = (uint8_t)pick->state;
    ask->tier = pick->price.tier;
}

/* A price's text where an error is going to be written. */
typedef struct aside {
    uint8_t text[BEAST_SLOT_TEXT];
} aside;

static inline aside set_aside(const uint8_t *text)
{
    aside copy;
    memcpy(copy.text, text, sizeof copy.text);
    return copy;
}

/* The error of one asset; `text` is that of its `last` price, if it has one, and not where `out` is. */
static uint8_t *put_error_of(uint8_t *out, const beast_pick *pick, const uint8_t *text)
{
    const beast_last last = {.price = &pick->price, .text = text, .age_ms = pick->age_ms};

    return beast_put_error(out, pick->result, BEAST_FAULT_NONE, 0, true, pick->slot ? &last : NULL);
}

static __attribute__((flatten)) uint8_t *put_one(beast_asking *ask, uint8_t *out, beast_reply *reply)
{
    const beast_request *req = ask->req;
    beast_pick pick;

    look_up(ask, &req->assets[0], ask->lookup->place_hash, out, &pick);
    reply->result = pick.result;
    if (pick.result == BEAST_RESULT_ANSWERED) {
        out = beast_put_rest(out + pick.price.text_len, ask->lane->shared, pick.state, pick.price.tier, pick.age_ms);
        return req->id.ptr ? beast_put_close(out - 1, req) : out;
    }
    const aside last = set_aside(out);
    *out++ = '{';
    return beast_put_close(put_error_of(out, &pick, last.text), req);
}

static uint8_t *put_entry(beast_asking *ask, const beast_name *asset, uint64_t place_hash, uint8_t *out,
                          beast_reply *reply)
{
    beast_pick pick;

    look_up(ask, asset, place_hash, out, &pick);
    if (reply->entries == 0 || pick.result == BEAST_RESULT_ANSWERED)
        reply->result = pick.result;
    if (pick.result == BEAST_RESULT_ANSWERED)
        return beast_put_rest(out + pick.price.text_len, ask->lane->shared, pick.state, pick.price.tier, pick.age_ms);
    const aside last = set_aside(out);
    *out++ = '{';
    out = beast_put_asset(out, asset);
    *out++ = ',';
    out = put_error_of(out, &pick, last.text);
    *out++ = '}';
    return out;
}

static uint8_t *put_many(beast_asking *ask, uint8_t *out, beast_reply *reply)
{
    const beast_request *req = ask->req;
    const beast_lookup *lookup = ask->lookup;
    const uint8_t *start = out;
    uint64_t hash[BEAST_ASSETS_MAX];

    hash[0] = lookup->place_hash;
    for (uint32_t i = 1; i < req->n_assets; i++) {
        hash[i] = beast_place_hash(beast_name_hash(&req->assets[i]), lookup->exchange);
        beast_layout_prefetch(lookup->layout, hash[i]);
    }
    out = BEAST_PUT(out, "{\"prices\":[");
    for (uint32_t i = 0; i < req->n_assets; i++) {
        if (i)
            *out++ = ',';
        out = put_entry(ask, &req->assets[i], hash[i], out, reply);
        reply->entry_end[i] = (uint16_t)(out - start);
        reply->entries++;
    }
    *out++ = ']';
    return beast_put_close(out, req);
}

/* One answer off the allowance of a key whose rate was asked before. */
static beast_result take_allowance(beast_key *key)
{
    int64_t left = atomic_load_explicit(&key->allowance, memory_order_relaxed);

    if (left == INT64_MAX || atomic_load_explicit(&key->partner, memory_order_relaxed))
        return BEAST_RESULT_ANSWERED;
    do {
        if (left <= 0)
            return BEAST_RESULT_QUOTA_EXCEEDED;
    } while (!atomic_compare_exchange_weak_explicit(&key->allowance, &left, left - 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return BEAST_RESULT_ANSWERED;
}

/* Who asks, and may they? A malformed request never proves a key. A parked request's key is looked up again: it
 * may have been revoked since. */
static beast_result admit(beast_asking *ask, beast_lookup *lookup, beast_key *admitted, beast_reply *reply)
{
    beast_lane *lane = ask->lane;

    if (ask->req->fault)
        return BEAST_RESULT_BAD_REQUEST;
    reply->key = beast_key_find(lane->keys, lane->shared->keys, &lookup->key);
    if (!reply->key)
        return BEAST_RESULT_UNAUTHORIZED;
    reply->proven = true;
    if (admitted == reply->key)
        return take_allowance(admitted);
    if (atomic_load_explicit(&reply->key->partner, memory_order_relaxed))
        beast_count(&lane->counters, BEAST_COUNTER_partner_requests, 1);
    return beast_key_admit(reply->key, ask->moment->now_ns, &reply->retry_ns);
}

uint32_t beast_key_burst(const beast_key *key)
{
    int64_t interval = atomic_load_explicit(&key->interval_ns, memory_order_relaxed);

    if (interval <= 0 || atomic_load_explicit(&key->partner, memory_order_relaxed))
        return 0;
    return (uint32_t)(atomic_load_explicit(&key->tolerance_ns, memory_order_relaxed) / interval) + 1;
}

static bool can_wait(const beast_lane *lane, const beast_key *admitted)
{
    return !admitted && (lane->misses || lane->handovers) &&
           atomic_load_explicit(&lane->shared->park_misses, memory_order_relaxed);
}

static void record(const beast_asking *ask, const beast_key *key)
{
    beast_lane *lane = ask->lane;
    beast_usage *usage = beast_usage_claim(lane->usage);

    lane->usage_sequence++;
    if (!usage) {
        beast_count(&lane->counters, BEAST_COUNTER_usage_lost, 1);
        return;
    }
    beast_count(&lane->counters, BEAST_COUNTER_usage_records, 1);
    *usage = (beast_usage){
        .time_ns = ask->moment->wall_ns,
        .sequence = lane->usage_sequence,
        .key_id = atomic_load_explicit(&key->id, memory_order_relaxed),
        .key_number = beast_key_number(lane->shared->keys, key),
        .instrument = ask->instrument,
        .age_ms = ask->age_ms,
        .state = ask->state,
        .tier = ask->tier,
        .protocol = lane->protocol,
        .lane = lane->number,
        .prices = (uint16_t)ask->prices,
    };
}

/* After the look-up: what was asked for is either recorded and paid, or given back. */
static void settle(beast_asking *ask, const beast_key *admitted, beast_reply *reply)
{
    uint32_t hits = ask->prices, misses = ask->req->n_assets - hits;

    if (hits)
        beast_count(&ask->lane->counters, BEAST_COUNTER_syncmap_hits, hits);
    if (misses && !admitted) {
        beast_count(&ask->lane->counters, BEAST_COUNTER_cache_misses, misses);
        reply->missed = can_wait(ask->lane, admitted);
    }
    if (hits && !reply->missed)
        record(ask, reply->key);
    else
        beast_key_refund(reply->key);
}

static void count_refusal(beast_lane *lane, beast_result result)
{
    if (result == BEAST_RESULT_UNAUTHORIZED)
        beast_count(&lane->counters, BEAST_COUNTER_auth_rejected, 1);
    else if (result == BEAST_RESULT_RATE_LIMITED)
        beast_count(&lane->counters, BEAST_COUNTER_rate_limited, 1);
    else if (result == BEAST_RESULT_QUOTA_EXCEEDED)
        beast_count(&lane->counters, BEAST_COUNTER_quota_rejected, 1);
}

void beast_answer_prefetch(const beast_lane *lane, const beast_request *req, beast_lookup *lookup)
{
    beast_key_prefetch(lane->keys, req->fault ? (beast_slice){NULL, 0} : req->api_key, &lookup->key);
    if (!lookup->key.literal.ptr)
        return;
    lookup->layout = beast_layout_now(lane->shared->prices);
    lookup->exchange = req->has_exchange ? beast_layout_exchange(lookup->layout, &req->exchange) : 0;
    lookup->place_hash = beast_place_hash(beast_name_hash(&req->assets[0]), lookup->exchange);
    beast_layout_prefetch(lookup->layout, lookup->place_hash);
}

void beast_answer_body(beast_lane *lane, const beast_request *req, beast_lookup *lookup, beast_key *admitted,
                       const beast_moment *moment, uint8_t *out, beast_reply *reply)
{
    beast_asking ask = {.lane = lane, .req = req, .moment = moment, .lookup = lookup};
    uint8_t *end;

    reply->proven = reply->missed = false;
    reply->entries = 0;
    reply->key = NULL;
    reply->retry_ns = 0;
    reply->result = admit(&ask, lookup, admitted, reply);
    if (reply->result != BEAST_RESULT_ANSWERED) {
        count_refusal(lane, reply->result);
    } else if (req->has_exchange && !lookup->exchange) {
        beast_key_refund(reply->key);
        reply->result = BEAST_RESULT_UNKNOWN_EXCHANGE;
    }
    if (reply->result != BEAST_RESULT_ANSWERED) {
        reply->len = beast_answer_error(req, reply->result, reply->retry_ns, true, out);
        return;
    }
    ask.ttl_ns = atomic_load_explicit(&lane->shared->ttl_ns, memory_order_relaxed);
    end = req->many ? put_many(&ask, out, reply) : put_one(&ask, out, reply);
    reply->len = (uint32_t)(end - out);
    settle(&ask, admitted, reply);
}

uint32_t beast_answer_error(const beast_request *req, beast_result result, int64_t retry_ns, bool message,
                            uint8_t *out)
{
    uint8_t *end = out;

    *end++ = '{';
    end = beast_put_error(end, result, req->fault, retry_ns, message, NULL);
    return (uint32_t)(beast_put_close(end, req) - out);
}
