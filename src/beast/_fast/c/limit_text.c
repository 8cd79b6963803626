#include "limit_text.h"

#include <time.h>

#include "answer_text.h"

#define NS_PER_S INT64_C(1000000000)

beast_month beast_month_of(int64_t second)
{
    time_t at = (time_t)second;
    struct tm utc;
    beast_month month;

    gmtime_r(&at, &utc);
    struct tm first = {.tm_year = utc.tm_year, .tm_mon = utc.tm_mon, .tm_mday = 1};
    month.begin = timegm(&first);
    struct tm next = {.tm_year = utc.tm_year, .tm_mon = utc.tm_mon + 1, .tm_mday = 1};
    month.end = timegm(&next);
    return month;
}

static uint64_t seconds_up(int64_t ns) { return ns > 0 ? (uint64_t)(ns + NS_PER_S - 1) / NS_PER_S : 0; }

/* One limit of the two: how much in how many seconds, how much of it is left, and for how long that is so. */
typedef struct quota {
    bool there;
    uint64_t quota, window, left, reset;
} quota;

/* A bucket of `burst` that fills in `window` seconds; where that is less than one, what flows in within a second. */
static quota rate_now(const beast_key *key, uint32_t share, const beast_reply *reply, int64_t now_ns)
{
    beast_key_rate rate = beast_key_rate_of(key, share);
    if (rate.interval_ns <= 0)
        return (quota){.there = false};
    uint64_t burst = (uint64_t)(rate.tolerance_ns / rate.interval_ns) + 1;
    bool slow = rate.tolerance_ns + rate.interval_ns >= NS_PER_S;
    quota now = {.there = true,
                 .quota = slow ? burst : (uint64_t)(NS_PER_S / rate.interval_ns),
                 .window = slow ? seconds_up(rate.tolerance_ns + rate.interval_ns) : 1};
    int64_t ahead = atomic_load_explicit(&key->arrival_ns, memory_order_relaxed) - now_ns;
    if (reply->result == BEAST_RESULT_RATE_LIMITED) {
        now.reset = reply->retry_ns > 0 ? seconds_up(reply->retry_ns) : 1;
    } else {
        ahead = ahead > 0 ? ahead : 0;
        now.left = ahead > rate.tolerance_ns ? 0 : (uint64_t)((rate.tolerance_ns - ahead) / rate.interval_ns) + 1;
        now.left = now.left < burst ? now.left : burst;
        now.reset = seconds_up(now.left ? ahead : ahead - rate.tolerance_ns);
    }
    return now;
}

static quota month_now(const beast_shared *shared, const beast_key *key, const beast_reply *reply, int64_t second,
                       const beast_month *month)
{
    const beast_key_terms *terms = beast_key_terms_of(shared->keys);
    int64_t cap = atomic_load_explicit(&key->cap, memory_order_relaxed);
    if (cap >= BEAST_NO_CAP)
        return (quota){.there = false};
    int64_t left = beast_allowance_of(atomic_load_explicit(&key->balance, memory_order_relaxed));
    if (atomic_load_explicit(&terms->leasing, memory_order_relaxed))
        left = cap - atomic_load_explicit(&key->seen, memory_order_relaxed) -
               (atomic_load_explicit(&key->given, memory_order_relaxed) - left);
    if (left < 0 || reply->result == BEAST_RESULT_QUOTA_EXCEEDED)
        left = 0;
    return (quota){.there = true,
                   .quota = (uint64_t)cap,
                   .window = (uint64_t)(month->end - month->begin),
                   .left = (uint64_t)(left < cap ? left : cap),
                   .reset = (uint64_t)(month->end > second ? month->end - second : 1)};
}

static uint8_t *put_pair(uint8_t *out, uint64_t first, bool now, uint64_t second)
{
    out = now ? BEAST_PUT(out, ";r=") : BEAST_PUT(out, ";q=");
    out = beast_put_number(out, first, 0);
    out = now ? BEAST_PUT(out, ";t=") : BEAST_PUT(out, ";w=");
    return beast_put_number(out, second, 0);
}

static uint8_t *put_both(uint8_t *out, const quota *rate, const quota *month, bool now)
{
    if (rate->there) {
        out = BEAST_PUT(out, "\"rate\"");
        out = put_pair(out, now ? rate->left : rate->quota, now, now ? rate->reset : rate->window);
    }
    if (rate->there && month->there)
        out = BEAST_PUT(out, ", ");
    if (month->there) {
        out = BEAST_PUT(out, "\"month\"");
        out = put_pair(out, now ? month->left : month->quota, now, now ? month->reset : month->window);
    }
    return BEAST_PUT(out, "\r\n");
}

static uint8_t *put_limits(uint8_t *out, const beast_shared *shared, const beast_reply *reply,
                           const beast_moment *moment, const beast_month *month)
{
    const beast_key_terms *terms = beast_key_terms_of(shared->keys);
    const quota rate = rate_now(reply->key, atomic_load_explicit(&terms->share, memory_order_relaxed), reply,
                                moment->now_ns);
    const quota of_month = month_now(shared, reply->key, reply, moment->wall_ns / NS_PER_S, month);

    if (!rate.there && !of_month.there)
        return out;
    out = put_both(BEAST_PUT(out, "RateLimit-Policy: "), &rate, &of_month, false);
    out = put_both(BEAST_PUT(out, "RateLimit: "), &rate, &of_month, true);
    if (atomic_load_explicit(&terms->cluster, memory_order_relaxed))
        return BEAST_PUT(out, "RateLimit-Scope: cluster\r\n");
    return BEAST_PUT(out, "RateLimit-Scope: node\r\n");
}

static uint8_t *put_line(uint8_t *out, const char *name, uint64_t value)
{
    out = beast_put_bytes(out, name, strlen(name));
    out = beast_put_number(out, value, 0);
    return BEAST_PUT(out, "\r\n");
}

/* With the names of the older drafts, which clients know as well. */
static uint8_t *put_refusal(uint8_t *out, const beast_shared *shared, const beast_reply *reply,
                            const beast_moment *moment, const beast_month *month)
{
    uint64_t wait = reply->retry_ns > 0 ? seconds_up(reply->retry_ns) : 1;

    switch (beast_result_describe(reply->result)->http) {
    case 401:
        return BEAST_PUT(out, "WWW-Authenticate: Bearer\r\n");
    case 402:
        return put_line(out, "Retry-After: ", (uint64_t)(month->end - moment->wall_ns / NS_PER_S));
    case 429:
        out = put_line(out, "Retry-After: ", wait);
        out = put_line(out, "RateLimit-Limit: ", beast_key_burst(shared, reply->key));
        out = put_line(out, "RateLimit-Remaining: ", 0);
        return put_line(out, "RateLimit-Reset: ", wait);
    default:
        return out;
    }
}

uint32_t beast_limit_lines(const beast_shared *shared, const beast_reply *reply, const beast_moment *moment,
                           const beast_month *month, uint8_t *out)
{
    uint8_t *end = out;

    if (reply->result != BEAST_RESULT_ANSWERED)
        end = put_refusal(end, shared, reply, moment, month);
    if (reply->proven && !(atomic_load_explicit(&reply->key->flags, memory_order_relaxed) & BEAST_KEY_PARTNER))
        end = put_limits(end, shared, reply, moment, month);
    return (uint32_t)(end - out);
}
