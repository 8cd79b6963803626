#include "answer_lookup.h"
#include "answer_text.h"

/* What one asset's look-up found: the price to answer, or the one to tell as `last`. */
typedef struct beast_pick {
    beast_state state;
    const beast_slot *slot; /* NULL: no price */
    uint64_t age_ms;
    uint32_t text_len; /* of the price's text, or of the refusal of a consensus */
    beast_price price;
} beast_pick;

/* One request on its way through the steps below. */
typedef struct beast_asking {
    beast_lane *lane;
    const beast_request *req;
    const beast_moment *moment;
    const beast_lookup *lookup;
    beast_freshness freshness;
    uint32_t waitable; /* assets for which a slower tier may have what memory hasn't */
    uint32_t spared;   /* of those, the ones that have a stale price which may be answered */
    uint32_t prices;   /* found so far; of the first one: */
    uint32_t instrument, age_ms;
    uint8_t state, tier, way;
} beast_asking;

static uint64_t age_of(const beast_price *price, int64_t now_ns)
{
    int64_t age_ns = now_ns - price->received_ns;
    return age_ns > 0 ? (uint64_t)age_ns / 1000000 : 0; /* a trade may be younger than the batch's clock */
}

/* False when the slot never had a trade. */
static inline bool weigh(const beast_asking *ask, const beast_slot *slot, beast_pick *pick)
{
    if (!beast_slot_read(slot, &pick->price))
        return false;
    pick->slot = slot;
    pick->age_ms = age_of(&pick->price, ask->moment->now_ns);
    pick->state = BEAST_STATE_STALE;
    if (pick->age_ms <= (uint64_t)ask->req->max_age_ms) /* -1, absent, becomes the greatest */
        pick->state = beast_price_state(&pick->price, beast_table_link(ask->lane->shared->prices, pick->price.link),
                                        ask->moment->now_ns, &ask->freshness);
    return true;
}

/* Section 3 of the protocol: the first live candidate, else the first quiet one, else the last received.
 * A candidate too old for max_age_ms ranks as stale: it can't answer, but it can be `last`. Among those the last
 * received is the youngest, so if it exceeds max_age_ms, all do, and if it doesn't, it is really stale. */
static void choose(const beast_asking *ask, const beast_slot *slot, uint32_t count, beast_pick *pick)
{
    beast_pick other;

    if (!weigh(ask, slot, pick))
        pick->slot = NULL;
    while (!(pick->slot && pick->state == BEAST_STATE_LIVE) && --count > 0) {
        slot = beast_slot_next(slot);
        if (!weigh(ask, slot, &other))
            continue;
        if (!pick->slot || other.state < pick->state ||
            (pick->state == BEAST_STATE_STALE && other.price.received_ns > pick->price.received_ns))
            *pick = other;
    }
}

/* Whether a slower tier may know more: not while the connection is proven alive that brought the last price. */
static bool may_be_fresher(const beast_asking *ask, const beast_pick *pick)
{
    const beast_link *link = pick->slot ? beast_table_link(ask->lane->shared->prices, pick->price.link) : NULL;

    static const beast_freshness never = {.ttl_ns = INT64_MIN};

    return !link || beast_price_state(&pick->price, link, ask->moment->now_ns, &never) != BEAST_STATE_QUIET;
}

/* Chooses among all, and puts the chosen one's text to `out`, or what a consensus refuses with. */
static __attribute__((noinline)) beast_result look_further(beast_asking *ask, const beast_slot *first, uint32_t count,
                                                           uint8_t *out, beast_pick *pick)
{
    do {
        choose(ask, first, count, pick);
        pick->text_len = pick->slot ? beast_slot_text(pick->slot, &pick->price, out) : beast_slot_refusal(first, out);
    } while (pick->slot && !pick->text_len);
    if (!pick->slot && pick->text_len)
        return BEAST_RESULT_UNAVAILABLE;
    if (pick->slot && pick->state != BEAST_STATE_STALE)
        return BEAST_RESULT_ANSWERED;
    bool may_be_better = may_be_fresher(ask, pick);
    bool will_do = pick->slot && ask->req->allow_stale && pick->age_ms <= (uint64_t)ask->req->max_age_ms;
    ask->waitable += may_be_better;
    ask->spared += may_be_better && will_do;
    return will_do ? BEAST_RESULT_ANSWERED : BEAST_RESULT_STALE;
}

/* The first one is live nearly always; else all have to be looked at. */
static beast_result look_up(beast_asking *ask, const beast_name *asset, uint64_t place_hash, uint8_t *out,
                            beast_pick *pick)
{
    uint32_t count;
    pick->slot = NULL;
    const beast_slot *first = beast_layout_find(ask->lookup->layout, ask->lookup->exchange, asset, place_hash, &count);

    if (!first)
        return BEAST_RESULT_UNKNOWN_ASSET;
    bool live = weigh(ask, first, pick) && pick->state == BEAST_STATE_LIVE &&
                (pick->text_len = beast_slot_text(first, &pick->price, out)) != 0;
    if (__builtin_expect(!live, 0)) {
        beast_result result = look_further(ask, first, count, out, pick);
        if (result != BEAST_RESULT_ANSWERED)
            return result;
    }
    if (ask->prices++)
        return BEAST_RESULT_ANSWERED;
    ask->instrument = beast_slot_id(pick->slot);
    ask->age_ms = pick->age_ms < UINT32_MAX ? (uint32_t)pick->age_ms : UINT32_MAX;
    ask->state = (uint8_t)pick->state;
    ask->tier = pick->price.tier;
    ask->way = pick->price.way;
    return BEAST_RESULT_ANSWERED;
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
static uint8_t *put_error_of(uint8_t *out, beast_result result, const beast_pick *pick, const uint8_t *text)
{
    const beast_last last = {.price = &pick->price, .text = text, .age_ms = pick->age_ms};

    if (result == BEAST_RESULT_UNAVAILABLE)
        return beast_put_bytes(out, text, pick->text_len);
    return beast_put_error(out, result, BEAST_FAULT_NONE, 0, true, pick->slot ? &last : NULL);
}

static __attribute__((flatten)) uint8_t *put_one(beast_asking *ask, uint8_t *out, beast_reply *reply)
{
    const beast_request *req = ask->req;
    beast_pick pick;

    reply->result = look_up(ask, &req->assets[0], ask->lookup->place_hash, out, &pick);
    if (reply->result == BEAST_RESULT_ANSWERED) {
        out = beast_put_rest(out + pick.text_len, ask->lane->shared, pick.state, pick.price.tier, pick.age_ms);
        return req->id.ptr ? beast_put_close(out - 1, req) : out;
    }
    const aside last = set_aside(out);
    *out++ = '{';
    return beast_put_close(put_error_of(out, reply->result, &pick, last.text), req);
}

static uint8_t *put_entry(beast_asking *ask, const beast_name *asset, uint64_t place_hash, uint8_t *out,
                          beast_reply *reply)
{
    beast_pick pick;

    beast_result result = look_up(ask, asset, place_hash, out, &pick);
    if (reply->entries == 0 || result == BEAST_RESULT_ANSWERED)
        reply->result = result;
    if (result == BEAST_RESULT_ANSWERED)
        return beast_put_rest(out + pick.text_len, ask->lane->shared, pick.state, pick.price.tier, pick.age_ms);
    const aside last = set_aside(out);
    *out++ = '{';
    out = beast_put_asset(out, asset);
    *out++ = ',';
    out = put_error_of(out, result, &pick, last.text);
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

/* Off the usual path: the key doesn't open everything from everywhere. */
static __attribute__((noinline)) beast_result restricted(const beast_lane *lane, const beast_lookup *lookup,
                                                         const beast_key *key, uint32_t flags)
{
    struct sockaddr_storage named;
    socklen_t len = sizeof named;
    const struct sockaddr *peer = lookup->peer;

    if (!peer && lookup->fd >= 0 && getpeername(lookup->fd, (struct sockaddr *)&named, &len) == 0)
        peer = (struct sockaddr *)&named;
    if (flags & BEAST_KEY_NETWORKS && !beast_key_is_from(lane->shared->keys, key, peer))
        return BEAST_RESULT_NO_NETWORK;
    return flags & BEAST_KEY_NO_PRICE ? BEAST_RESULT_NO_SCOPE : BEAST_RESULT_ANSWERED;
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
    uint32_t flags = atomic_load_explicit(&reply->key->flags, memory_order_relaxed);
    if (__builtin_expect(flags & (BEAST_KEY_NO_PRICE | BEAST_KEY_NETWORKS), 0)) {
        beast_result result = restricted(lane, lookup, reply->key, flags);
        if (result != BEAST_RESULT_ANSWERED)
            return result;
    }
    reply->proven = true;
    if (admitted == reply->key)
        return beast_key_take(lane->shared->keys, admitted, &reply->retry_ns);
    if (flags & BEAST_KEY_PARTNER)
        beast_count(&lane->counters, BEAST_COUNTER_partner_requests, 1);
    return beast_key_admit(lane->shared->keys, lane->keys, reply->key, ask->moment->now_ns, &reply->retry_ns);
}

uint32_t beast_key_burst(const beast_shared *shared, const beast_key *key)
{
    uint32_t share = atomic_load_explicit(&beast_key_terms_of(shared->keys)->share, memory_order_relaxed);
    beast_key_rate rate = beast_key_rate_of(key, share);

    if (rate.interval_ns <= 0 || atomic_load_explicit(&key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER)
        return 0;
    return (uint32_t)(rate.tolerance_ns / rate.interval_ns) + 1;
}

static bool can_wait(const beast_lane *lane, const beast_key *admitted)
{
    return !admitted && (lane->waits || ((lane->misses || lane->handovers) &&
                                         atomic_load_explicit(&lane->shared->park_misses, memory_order_relaxed)));
}

/* False when there was no room for it. */
static bool record(const beast_asking *ask, const beast_key *key)
{
    beast_lane *lane = ask->lane;
    beast_usage *usage = beast_usage_claim(lane->usage);

    if (!usage) {
        beast_usage_lose(lane->usage);
        beast_count(&lane->counters, BEAST_COUNTER_usage_lost, 1);
        return false;
    }
    /* Member by member: a whole record would be made elsewhere and copied. */
    usage->time_ns = ask->moment->wall_ns;
    usage->key_id = atomic_load_explicit(&key->id, memory_order_relaxed);
    usage->key_number = beast_key_number(lane->shared->keys, key);
    usage->instrument = ask->instrument;
    usage->age_ms = ask->age_ms;
    usage->latency_ns = 0;
    usage->state = ask->state;
    usage->tier = ask->tier;
    usage->protocol = lane->asked_by;
    usage->lane = lane->number;
    usage->prices = (uint16_t)ask->prices;
    usage->way = ask->way;
    usage->reserved = 0;
    return true;
}

/* After the look-up: what was asked for is either recorded and paid, or given back. */
static void settle(beast_asking *ask, const beast_key *admitted, beast_reply *reply)
{
    /* No slower tier knows more of a consensus. */
    reply->missed = ask->waitable && ask->lookup->exchange != BEAST_CONSENSUS && can_wait(ask->lane, admitted);
    /* A stale price is a find only where nobody is asked for a better one. */
    uint32_t hits = ask->prices - (reply->missed ? ask->spared : 0), misses = ask->req->n_assets - hits;

    if (hits)
        beast_count(&ask->lane->counters, BEAST_COUNTER_syncmap_hits, hits);
    if (misses && !admitted)
        beast_count(&ask->lane->counters, BEAST_COUNTER_cache_misses, misses);
    if (ask->prices && !reply->missed)
        reply->recorded = record(ask, reply->key);
    else
        beast_key_refund(reply->key);
}

static void count_refusal(beast_lane *lane, beast_result result)
{
    if (result == BEAST_RESULT_UNAUTHORIZED || result == BEAST_RESULT_NO_SCOPE || result == BEAST_RESULT_NO_NETWORK)
        beast_count(&lane->counters, BEAST_COUNTER_auth_rejected, 1);
    else if (result == BEAST_RESULT_RATE_LIMITED)
        beast_count(&lane->counters, BEAST_COUNTER_rate_limited, 1);
    else if (result == BEAST_RESULT_QUOTA_EXCEEDED)
        beast_count(&lane->counters, BEAST_COUNTER_quota_rejected, 1);
}

void beast_answer_prefetch(const beast_lane *lane, const beast_request *req, beast_lookup *lookup)
{
    beast_lookup_begin(lane->keys, beast_layout_now(lane->shared->prices), req, lookup);
}

void beast_answer_body(beast_lane *lane, const beast_request *req, beast_lookup *lookup, beast_key *admitted,
                       const beast_moment *moment, uint8_t *out, beast_reply *reply)
{
    beast_asking ask = {.lane = lane, .req = req, .moment = moment, .lookup = lookup};
    uint8_t *end;

    reply->proven = reply->missed = reply->recorded = false;
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
    ask.freshness = beast_shared_freshness(lane->shared);
    end = req->many ? put_many(&ask, out, reply) : put_one(&ask, out, reply);
    reply->len = (uint32_t)(end - out);
    settle(&ask, admitted, reply);
}

void beast_answer_refusal(beast_lane *lane, const beast_request *req, beast_key *key, beast_result result,
                          int64_t retry_ns, uint8_t *out, beast_reply *reply)
{
    reply->result = result;
    reply->proven = true;
    reply->missed = reply->recorded = false;
    reply->entries = 0;
    reply->key = key;
    reply->retry_ns = retry_ns;
    count_refusal(lane, result);
    reply->len = beast_answer_error(req, result, retry_ns, true, out);
}

uint32_t beast_answer_watched(beast_lane *lane, const beast_request *req, const beast_moment *moment, uint8_t *out)
{
    beast_lookup lookup;
    beast_reply reply = {.entries = 0};
    beast_asking ask = {.lane = lane, .req = req, .moment = moment, .lookup = &lookup};

    beast_lookup_aim(beast_layout_now(lane->shared->prices), req, &lookup);
    if (req->has_exchange && !lookup.exchange)
        return beast_answer_error(req, BEAST_RESULT_UNKNOWN_EXCHANGE, 0, true, out);
    ask.freshness = beast_shared_freshness(lane->shared);
    return (uint32_t)(put_entry(&ask, &req->assets[0], lookup.place_hash, out, &reply) - out);
}

uint32_t beast_answer_error(const beast_request *req, beast_result result, int64_t retry_ns, bool message,
                            uint8_t *out)
{
    uint8_t *end = out;

    *end++ = '{';
    end = beast_put_error(end, result, req->fault, retry_ns, message, NULL);
    return (uint32_t)(beast_put_close(end, req) - out);
}
