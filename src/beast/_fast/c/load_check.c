/* One answer, read member by member in the order of docs/protocol.md. */
#include "load_client.h"

#include <string.h>

typedef struct cursor {
    const uint8_t *at, *end; /* at == NULL: the answer is not as it should be */
} cursor;

#define WORDS(c, literal) words((c), (literal), sizeof(literal) - 1)

static bool words(cursor *c, const char *literal, size_t len)
{
    if (c->at == NULL || (size_t)(c->end - c->at) < len || memcmp(c->at, literal, len) != 0) {
        c->at = NULL;
        return false;
    }
    c->at += len;
    return true;
}

/* The inside of a string up to its closing quote, which is passed; escapes stay as they are. */
static beast_slice text(cursor *c)
{
    const uint8_t *start = c->at;
    if (start == NULL)
        return (beast_slice){NULL, 0};
    for (const uint8_t *p = start; p < c->end && *p >= ' '; p++) {
        if (*p == '"') {
            c->at = p + 1;
            return (beast_slice){start, (uint32_t)(p - start)};
        }
        p += *p == '\\' && p + 1 < c->end;
    }
    c->at = NULL;
    return (beast_slice){NULL, 0};
}

static size_t digits(cursor *c, uint64_t *value)
{
    const uint8_t *start = c->at;
    *value = 0;
    if (start == NULL)
        return 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        *value = *value * 10 + (uint64_t)(*c->at - '0');
    size_t n = (size_t)(c->at - start);
    if (n == 0 || (n > 1 && *start == '0'))
        c->at = NULL;
    return n;
}

/* A price: digits, and perhaps a fraction; never signed, never with an exponent. */
static void decimal(cursor *c)
{
    uint64_t ignored;
    if (digits(c, &ignored) > 0 && c->at != NULL && c->at < c->end && *c->at == '.') {
        const uint8_t *start = ++c->at;
        while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
            c->at++;
        if (c->at == start)
            c->at = NULL;
    }
}

/* RFC 3339 in UTC with 6 or 9 digits of fraction. */
static void timestamp(cursor *c)
{
    static const char form[] = "0000-00-00T00:00:00.000000";
    beast_slice t = text(c);
    bool good = c->at != NULL && (t.len == 27 || t.len == 30) && t.ptr[t.len - 1] == 'Z';
    for (uint32_t i = 0; good && i < t.len - 1; i++) {
        char want = i < sizeof form - 1 ? form[i] : '0';
        good = want == '0' ? t.ptr[i] >= '0' && t.ptr[i] <= '9' : t.ptr[i] == (uint8_t)want;
    }
    if (!good)
        c->at = NULL;
}

/* Right-aligned to six columns, or wider. */
static uint64_t age(cursor *c)
{
    const uint8_t *start = c->at;
    uint64_t value;
    while (c->at != NULL && c->at < c->end && *c->at == ' ')
        c->at++;
    size_t spaces = (size_t)(c->at - start), n = digits(c, &value);
    if (spaces > 0 ? spaces + n != 6 : n < 6)
        c->at = NULL;
    return value;
}

static bool same(beast_slice a, beast_slice b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* By UDP: the id, which the caller knows already, and padding to 256 or a multiple of 64. */
static bool ends_well(cursor *c, size_t whole, bool udp, bool padded)
{
    uint64_t id;
    if (udp && WORDS(c, ",\"id\":"))
        digits(c, &id);
    WORDS(c, "}");
    if (c->at == NULL)
        return false;
    if (!udp || !padded)
        return c->at == c->end;
    while (c->at < c->end && *c->at == ' ')
        c->at++;
    return c->at == c->end && whole >= BEAST_ANSWER_PAD && whole % BEAST_ANSWER_PAD_STEP == 0;
}

static beast_load_answer wrong(beast_load_fault fault)
{
    return (beast_load_answer){fault, BEAST_RESULT_ANSWERED};
}

static beast_load_answer read_error(cursor *c, size_t whole, bool udp)
{
    static const char *const codes[] = {
#define X(name, code, http, reason, message) code,
        BEAST_RESULTS(X)
#undef X
    };
    uint64_t ignored;
    beast_slice code = text(c);
    uint32_t result = BEAST_RESULT_COUNT;
    /* Several results may have one code: the first of them stands for all. */
    for (uint32_t i = BEAST_RESULT_BAD_REQUEST; c->at != NULL && i < result; i++)
        if (strlen(codes[i]) == code.len && memcmp(codes[i], code.ptr, code.len) == 0)
            result = i;
    if (result == BEAST_RESULT_COUNT)
        return wrong(BEAST_LOAD_FAULT_MALFORMED);
    cursor next = *c;
    if (WORDS(&next, ",\"message\":\"")) {
        text(&next);
        *c = next;
    }
    if (result == BEAST_RESULT_RATE_LIMITED && WORDS(c, ",\"retry_after_ms\":"))
        digits(c, &ignored);
    next = *c;
    if (result == BEAST_RESULT_STALE && WORDS(&next, ",\"last\":{\"price\":")) {
        decimal(&next);
        if (WORDS(&next, ",\"timestamp\":\""))
            timestamp(&next);
        if (WORDS(&next, ",\"age_ms\":"))
            digits(&next, &ignored);
        WORDS(&next, "}");
        *c = next;
    }
    if (!ends_well(c, whole, udp, false))
        return wrong(BEAST_LOAD_FAULT_MALFORMED);
    return (beast_load_answer){BEAST_LOAD_FAULT_NONE, (beast_result)result};
}

/* source is the exchange's name, a hyphen, and the way the price came. */
static bool names_source(beast_slice source, beast_slice exchange)
{
    return source.len > exchange.len + 1 && memcmp(source.ptr, exchange.ptr, exchange.len) == 0 &&
           source.ptr[exchange.len] == '-';
}

/* "name":7, where more stand than are listed. */
static void perhaps_more(cursor *c, const char *name, size_t len)
{
    uint64_t more = 1;
    cursor next = *c;
    if (words(&next, name, len)) {
        *c = next;
        digits(c, &more);
    }
    if (more == 0)
        c->at = NULL;
}

static bool goes_on(cursor *c)
{
    cursor next = *c;
    bool comma = WORDS(&next, ",");
    if (comma)
        *c = next;
    return comma;
}

/* What only a consensus says: who took part, who didn't and why, and how far apart they are. */
static void sources(cursor *c)
{
    cursor next;
    WORDS(c, ",\"sources_used\":[");
    do {
        WORDS(c, "\"");
        if (text(c).len == 0)
            c->at = NULL;
    } while (goes_on(c));
    WORDS(c, "]");
    perhaps_more(c, ",\"sources_used_more\":", sizeof ",\"sources_used_more\":" - 1);
    WORDS(c, ",\"sources_excluded\":[");
    next = *c;
    if (!WORDS(&next, "]")) {
        do {
            WORDS(c, "{\"exchange\":\"");
            text(c);
            WORDS(c, ",\"reason\":\"");
            text(c);
            WORDS(c, "}");
        } while (goes_on(c));
    }
    WORDS(c, "]");
    perhaps_more(c, ",\"sources_excluded_more\":", sizeof ",\"sources_excluded_more\":" - 1);
    WORDS(c, ",\"spread_bps\":");
    decimal(c);
}

beast_load_answer beast_load_read(const beast_load_expected *expected, const uint8_t *answer, size_t len)
{
    cursor start = {answer, answer + len}, at = start, *c = &at;
    if (WORDS(&start, "{\"error\":\""))
        return read_error(&start, len, expected->udp);
    WORDS(c, "{\"asset\":\"");
    beast_slice asset = text(c);
    WORDS(c, ",\"price\":");
    decimal(c);
    WORDS(c, ",\"currency\":\"");
    beast_slice currency = text(c);
    WORDS(c, ",\"exchange\":\"");
    beast_slice exchange = text(c);
    WORDS(c, ",\"source\":\"");
    beast_slice source = text(c);
    WORDS(c, ",\"timestamp\":\"");
    timestamp(c);
    if (c->at && same(exchange, (beast_slice){(const uint8_t *)"consensus", 9}))
        sources(c);
    WORDS(c, ",\"age_ms\":");
    uint64_t age_ms = age(c);
    WORDS(c, ",\"state\":\"");
    beast_slice state = text(c);
    WORDS(c, ",\"tier\":");
    uint64_t tier;
    digits(c, &tier);
    WORDS(c, ",\"node\":\"");
    text(c);
    if (!ends_well(c, len, expected->udp, true) || currency.len == 0 || !names_source(source, exchange) || tier < 1 ||
        tier > 3)
        return wrong(BEAST_LOAD_FAULT_MALFORMED);
    if (!same(asset, expected->asset))
        return wrong(BEAST_LOAD_FAULT_ASSET);
    if (expected->exchange.ptr != NULL && !same(exchange, expected->exchange))
        return wrong(BEAST_LOAD_FAULT_EXCHANGE);
    if (same(state, (beast_slice){(const uint8_t *)"stale", 5}))
        return wrong(BEAST_LOAD_FAULT_STALE);
    if (!same(state, (beast_slice){(const uint8_t *)"live", 4}) && !same(state, (beast_slice){(const uint8_t *)"quiet", 5}))
        return wrong(BEAST_LOAD_FAULT_MALFORMED);
    if (expected->max_age_ms >= 0 && age_ms > (uint64_t)expected->max_age_ms)
        return wrong(BEAST_LOAD_FAULT_AGE);
    return (beast_load_answer){BEAST_LOAD_FAULT_NONE, BEAST_RESULT_ANSWERED};
}
