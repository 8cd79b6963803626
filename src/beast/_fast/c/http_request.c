#include "http_request.h"

#include <string.h>

#include "http_scan.h"

#define MAX_AGE_LIMIT INT64_C(9007199254740991)

typedef enum parameter { ASSET, ASSETS, EXCHANGE, MAX_AGE, ALLOW_STALE, PARAMETERS } parameter;

static const beast_http_word names[PARAMETERS] = {
    [ASSET] = BEAST_HTTP_WORD("asset"),
    [ASSETS] = BEAST_HTTP_WORD("assets"),
    [EXCHANGE] = BEAST_HTTP_WORD("exchange"),
    [MAX_AGE] = BEAST_HTTP_WORD("max_age_ms"),
    [ALLOW_STALE] = BEAST_HTTP_WORD("allow_stale"),
};

static void note(beast_request *req, beast_fault fault)
{
    if (req->fault == BEAST_FAULT_NONE)
        req->fault = fault;
}

static void read_assets(beast_request *req, const uint8_t *input, beast_slice value)
{
    const uint8_t *end = value.ptr + value.len, *entry = value.ptr;
    for (uint32_t entries = 1;; entries++) {
        const uint8_t *comma = memchr(entry, ',', (size_t)(end - entry));
        const uint8_t *stop = comma ? comma : end;
        if (stop == entry || entries > BEAST_ASSETS_MAX) {
            note(req, BEAST_FAULT_ASSETS);
            return;
        }
        beast_request_add_asset(req, input, (beast_slice){entry, (uint32_t)(stop - entry)}, false);
        if (!comma)
            return;
        entry = comma + 1;
    }
}

static void read_max_age(beast_request *req, beast_slice value)
{
    int64_t age = 0;
    bool good = value.len > 0;
    for (uint32_t i = 0; i < value.len && good; i++) {
        age = age * 10 + (value.ptr[i] - '0');
        good = value.ptr[i] >= '0' && value.ptr[i] <= '9' && age <= MAX_AGE_LIMIT;
    }
    if (good)
        req->max_age_ms = age;
    else
        note(req, BEAST_FAULT_MAX_AGE);
}

static bool value_is(beast_slice value, const char *text)
{
    return value.len == strlen(text) && memcmp(value.ptr, text, value.len) == 0;
}

static void read_parameter(beast_request *req, const uint8_t *input, parameter which, beast_slice value)
{
    switch (which) {
    case ASSET:
        if (value.len > 0)
            beast_request_add_asset(req, input, value, false);
        else
            note(req, BEAST_FAULT_ASSET);
        break;
    case ASSETS:
        read_assets(req, input, value);
        break;
    case EXCHANGE:
        if (value.len == 0) {
            note(req, BEAST_FAULT_EXCHANGE);
            break;
        }
        req->exchange.raw = value;
        req->exchange.escaped = false;
        beast_name_fold(&req->exchange, value.ptr, value.len, false);
        req->has_exchange = true;
        break;
    case MAX_AGE:
        read_max_age(req, value);
        break;
    default:
        req->allow_stale = value_is(value, "true");
        if (!req->allow_stale && !value_is(value, "false"))
            note(req, BEAST_FAULT_ALLOW_STALE);
    }
}

/* The parameter whose name and '=' stand at the cursor; MORE while one may still become of it. */
static beast_http_verdict take_name(beast_http_cursor *in, bool many, parameter *which)
{
    beast_http_verdict verdict = BEAST_HTTP_OTHER;
    size_t left = (size_t)(in->end - in->at);
    for (int i = 0; i < PARAMETERS; i++) {
        if (i == (many ? ASSET : ASSETS))
            continue;
        size_t common = left < names[i].len ? left : names[i].len;
        if (memcmp(in->at, names[i].text, common) != 0)
            continue;
        if (left <= names[i].len) {
            verdict = BEAST_HTTP_MORE;
        } else if (in->at[common] == '=') {
            in->at += common + 1;
            *which = (parameter)i;
            return BEAST_HTTP_HOT;
        }
    }
    return verdict;
}

/* From behind the '?' to the space after the target. */
static beast_http_verdict take_query(beast_http_cursor *in, const uint8_t *input, beast_request *req)
{
    uint32_t seen = 0;
    for (;;) {
        parameter which = PARAMETERS;
        beast_http_verdict verdict = take_name(in, req->many, &which);
        if (verdict != BEAST_HTTP_HOT)
            return verdict;
        if (seen >> which & 1)
            return BEAST_HTTP_OTHER;
        seen |= 1u << which;
        const uint8_t *value = in->at;
        while (in->at < in->end && beast_http_is(*in->at, BEAST_HTTP_QUERY))
            in->at++;
        if (in->at == in->end)
            return BEAST_HTTP_MORE;
        read_parameter(req, input, which, (beast_slice){value, (uint32_t)(in->at - value)});
        uint8_t stop = *in->at++;
        if (stop != '&')
            return stop == ' ' ? BEAST_HTTP_HOT : BEAST_HTTP_OTHER;
    }
}

/* The request line; the target's path alone says whether one price or several are asked. */
static beast_http_verdict take_request_line(beast_http_cursor *in, const uint8_t *input, beast_request *req)
{
    beast_http_verdict verdict = beast_http_take(in, "GET /price");
    if (verdict != BEAST_HTTP_HOT)
        return verdict;
    if (in->at < in->end && *in->at == 's') {
        req->many = true;
        in->at++;
    }
    if (in->at == in->end)
        return BEAST_HTTP_MORE;
    uint8_t stop = *in->at++;
    if (stop == '?') {
        if (in->at == in->end)
            return BEAST_HTTP_MORE;
        if (*in->at == ' ')
            in->at++;
        else if ((verdict = take_query(in, input, req)) != BEAST_HTTP_HOT)
            return verdict;
    } else if (stop != ' ') {
        return BEAST_HTTP_OTHER;
    }
    return beast_http_take(in, "HTTP/1.1\r\n");
}

/* `KEY` of `Bearer KEY`; len 0 when it is anything else. */
static beast_slice bearer(beast_slice value)
{
    if (value.len <= 7 || !beast_http_same_word(value.ptr, "bearer", 6) || value.ptr[6] != ' ')
        return (beast_slice){NULL, 0};
    return (beast_slice){value.ptr + 7, value.len - 7};
}

static bool all_of(beast_slice value, beast_http_class class)
{
    for (uint32_t i = 0; i < value.len; i++)
        if (!beast_http_is(value.ptr[i], class))
            return false;
    return value.len > 0;
}

typedef struct head {
    bool host, connection, key;
} head;

static bool take_key(beast_http_request *out, head *seen, beast_slice key)
{
    /* The value is known to be visible but for blanks. */
    if (seen->key || key.len == 0 || memchr(key.ptr, ' ', key.len) || memchr(key.ptr, '\t', key.len))
        return false;
    seen->key = true;
    out->price.api_key = key;
    return true;
}

/* False: this field makes the request somebody else's. Names are told apart by length first. */
static bool accept_field(beast_http_request *out, head *seen, beast_slice name, beast_slice value)
{
    const uint8_t *n = name.ptr;
    switch (name.len) {
    case 4:
        if (!beast_http_same_word(n, "host", 4))
            return true;
        if (seen->host)
            return false;
        seen->host = true;
        return all_of(value, BEAST_HTTP_AUTHORITY);
    case 6:
        return !beast_http_same_word(n, "expect", 6);
    case 7:
        return !beast_http_same_word(n, "upgrade", 7);
    case 9:
        return !beast_http_same_word(n, "x-api-key", 9) || take_key(out, seen, value);
    case 10:
        if (!beast_http_same_word(n, "connection", 10))
            return true;
        if (seen->connection)
            return false;
        seen->connection = true;
        out->close = value.len == 5 && beast_http_same_word(value.ptr, "close", 5);
        return out->close || (value.len == 10 && beast_http_same_word(value.ptr, "keep-alive", 10));
    case 13:
        return !beast_http_same_word(n, "authorization", 13) || take_key(out, seen, bearer(value));
    case 14:
        return !beast_http_same_word(n, "content-length", 14);
    case 17:
        return !beast_http_same_word(n, "transfer-encoding", 17);
    default:
        return true;
    }
}

static beast_http_verdict take_fields(beast_http_cursor *in, beast_http_request *out)
{
    head seen = {false, false, false};
    for (;;) {
        beast_slice name, value;
        if (in->at == in->end)
            return BEAST_HTTP_MORE;
        if (*in->at == '\r') {
            beast_http_verdict verdict = beast_http_take(in, "\r\n");
            return verdict == BEAST_HTTP_HOT && !seen.host ? BEAST_HTTP_OTHER : verdict;
        }
        beast_http_verdict verdict = beast_http_take_field(in, &name, &value);
        if (verdict != BEAST_HTTP_HOT)
            return verdict;
        if (!accept_field(out, &seen, name, value))
            return BEAST_HTTP_OTHER;
    }
}

beast_http_verdict beast_http_recognise(const uint8_t *buf, size_t len, beast_http_request *out)
{
    /* A head that is longer than what is looked at can't end inside it. */
    bool all = len <= BEAST_HTTP_HEAD_MAX;
    beast_http_cursor in = {.at = buf, .end = buf + (all ? len : BEAST_HTTP_HEAD_MAX)};
    beast_request_clear(&out->price);
    out->close = false;
    beast_http_verdict verdict = take_request_line(&in, buf, &out->price);
    if (verdict == BEAST_HTTP_HOT)
        verdict = take_fields(&in, out);
    if (verdict == BEAST_HTTP_MORE && len >= BEAST_HTTP_HEAD_MAX)
        return BEAST_HTTP_OTHER;
    if (verdict != BEAST_HTTP_HOT)
        return verdict;
    if (out->price.n_assets == 0)
        note(&out->price, BEAST_FAULT_NO_ASSET);
    out->consumed = (uint32_t)(in.at - buf);
    return BEAST_HTTP_HOT;
}
