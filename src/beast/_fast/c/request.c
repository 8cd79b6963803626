#include "request.h"

#include <string.h>

#include "json_scan.h"
#include "request_plain.h"

typedef enum member { API_KEY, ASSET, ASSETS, EXCHANGE, ID, MAX_AGE, ALLOW_STALE, UNKNOWN } member;

#define MAX_AGE_LIMIT INT64_C(9007199254740991) /* 2^53 - 1: what every JSON reader keeps exact */

typedef struct reading {
    beast_json json;
    beast_request *req;
    uint32_t seen; /* one bit per member, given as null or not */
    bool one, many;
} reading;

static void note(reading *r, beast_fault fault)
{
    if (r->req->fault == BEAST_FAULT_NONE)
        r->req->fault = fault;
}

static bool name_is(const uint8_t *name, const char *want, size_t len)
{
    return memcmp(name, want, len) == 0;
}

static inline member member_of(const uint8_t *name, uint32_t len)
{
    switch (len) {
    case 2:
        return name_is(name, "id", 2) ? ID : UNKNOWN;
    case 5:
        return name_is(name, "asset", 5) ? ASSET : UNKNOWN;
    case 6:
        return name_is(name, "assets", 6) ? ASSETS : UNKNOWN;
    case 7:
        return name_is(name, "api_key", 7) ? API_KEY : UNKNOWN;
    case 8:
        return name_is(name, "exchange", 8) ? EXCHANGE : UNKNOWN;
    case 10:
        return name_is(name, "max_age_ms", 10) ? MAX_AGE : UNKNOWN;
    case 11:
        return name_is(name, "allow_stale", 11) ? ALLOW_STALE : UNKNOWN;
    default:
        return UNKNOWN;
    }
}

static member escaped_member(const beast_json_token *name)
{
    uint8_t text[16];
    uint32_t len = beast_json_decode(name->ptr, name->len, text, sizeof text);
    return len > sizeof text ? UNKNOWN : member_of(text, len);
}

/* A string member's token; its ptr stays NULL when the value is none or empty where it may not be. */
static bool read_string(reading *r, beast_fault fault, bool may_be_empty, beast_json_token *token)
{
    token->ptr = NULL;
    if (beast_json_peek(&r->json) != '"') {
        note(r, fault);
        return beast_json_skip(&r->json, BEAST_JSON_TEXT, 1);
    }
    if (!beast_json_string(&r->json, BEAST_JSON_TEXT, token))
        return false;
    if (token->len == 0 && !may_be_empty) {
        note(r, fault);
        token->ptr = NULL;
    }
    return true;
}

/* The decoded text of a token: itself, or its place in the scratch memory. */
static beast_slice decoded(const beast_request *req, const uint8_t *input, beast_slice raw, bool escaped)
{
    if (!escaped)
        return raw;
    uint8_t *text = req->scratch + (raw.ptr - input);
    return (beast_slice){text, beast_json_decode(raw.ptr, raw.len, text, raw.len)};
}

static bool read_api_key(reading *r)
{
    beast_json_token token;
    if (!read_string(r, BEAST_FAULT_API_KEY, true, &token))
        return false;
    if (token.ptr)
        r->req->api_key = decoded(r->req, r->json.begin, (beast_slice){token.ptr, token.len}, token.escaped);
    return true;
}

static bool read_asset(reading *r)
{
    beast_json_token token;
    r->one = true;
    if (!read_string(r, BEAST_FAULT_ASSET, false, &token))
        return false;
    if (token.ptr && !r->many)
        beast_request_add_asset(r->req, r->json.begin, (beast_slice){token.ptr, token.len}, token.escaped);
    return true;
}

static bool read_assets(reading *r)
{
    beast_json_token token;
    uint32_t entries = 0;
    r->many = true;
    if (beast_json_peek(&r->json) != '[') {
        note(r, BEAST_FAULT_ASSETS);
        return beast_json_skip(&r->json, BEAST_JSON_TEXT, 1);
    }
    r->json.at++;
    if (beast_json_peek(&r->json) == ']') {
        note(r, BEAST_FAULT_ASSETS);
        r->json.at++;
        return true;
    }
    do {
        bool string = beast_json_peek(&r->json) == '"';
        if (!(string ? beast_json_string(&r->json, BEAST_JSON_TEXT, &token)
                     : beast_json_skip(&r->json, BEAST_JSON_TEXT, 2)))
            return false;
        if (!string || token.len == 0 || ++entries > BEAST_ASSETS_MAX)
            note(r, BEAST_FAULT_ASSETS);
        else if (!r->one)
            beast_request_add_asset(r->req, r->json.begin, (beast_slice){token.ptr, token.len}, token.escaped);
    } while (beast_json_peek(&r->json) == ',' && r->json.at++);
    return beast_json_take(&r->json, ']');
}

static bool read_exchange(reading *r)
{
    beast_json_token token;
    beast_request *req = r->req;
    if (!read_string(r, BEAST_FAULT_EXCHANGE, false, &token))
        return false;
    if (token.ptr) {
        req->exchange.raw = (beast_slice){token.ptr, token.len};
        req->exchange.escaped = token.escaped;
        beast_slice text = decoded(req, r->json.begin, req->exchange.raw, token.escaped);
        beast_name_fold(&req->exchange, text.ptr, text.len, false);
        req->has_exchange = true;
    }
    return true;
}

static bool is_number(uint8_t c)
{
    return c == '-' || beast_json_is_digit(c);
}

static bool read_id(reading *r)
{
    beast_json_token token;
    uint8_t first = beast_json_peek(&r->json);
    const uint8_t *start = r->json.at;
    bool good;
    if (first == '"') {
        if (!beast_json_string(&r->json, BEAST_JSON_TEXT, &token))
            return false;
        good = token.len <= BEAST_ID_MAX;
    } else if (is_number(first)) {
        if (!beast_json_number(&r->json, &token))
            return false;
        good = token.integer && token.len <= BEAST_ID_MAX;
    } else {
        good = false;
        if (!beast_json_skip(&r->json, BEAST_JSON_TEXT, 1))
            return false;
    }
    if (good)
        r->req->id = (beast_slice){start, (uint32_t)(r->json.at - start)};
    else
        note(r, BEAST_FAULT_ID);
    return true;
}

static bool read_max_age(reading *r)
{
    beast_json_token token;
    if (!is_number(beast_json_peek(&r->json))) {
        note(r, BEAST_FAULT_MAX_AGE);
        return beast_json_skip(&r->json, BEAST_JSON_TEXT, 1);
    }
    if (!beast_json_number(&r->json, &token))
        return false;
    bool negative = *token.ptr == '-'; /* -0 is 0 */
    int64_t value = 0;
    for (uint32_t i = negative; i < token.len && token.integer && value <= MAX_AGE_LIMIT; i++)
        value = value * 10 + (token.ptr[i] - '0');
    if (!token.integer || value > MAX_AGE_LIMIT || (negative && value != 0))
        note(r, BEAST_FAULT_MAX_AGE);
    else
        r->req->max_age_ms = value;
    return true;
}

static bool read_allow_stale(reading *r)
{
    uint8_t first = beast_json_peek(&r->json);
    if (first != 't' && first != 'f')
        note(r, BEAST_FAULT_ALLOW_STALE);
    r->req->allow_stale = first == 't';
    return beast_json_skip(&r->json, BEAST_JSON_TEXT, 1);
}

static bool read_value(reading *r, member which)
{
    if (which == UNKNOWN) {
        beast_json_skip_space(&r->json);
        return beast_json_skip(&r->json, BEAST_JSON_GRAMMAR_ONLY, 1);
    }
    uint8_t first = beast_json_peek(&r->json);
    bool twice = r->seen >> which & 1;
    r->seen |= 1u << which;
    if (twice) {
        note(r, BEAST_FAULT_TWICE);
        return beast_json_skip(&r->json, BEAST_JSON_TEXT, 1);
    }
    if (first == 'n')
        return beast_json_literal(&r->json, "null");
    switch (which) {
    case API_KEY:
        return read_api_key(r);
    case ASSET:
        return read_asset(r);
    case ASSETS:
        return read_assets(r);
    case EXCHANGE:
        return read_exchange(r);
    case ID:
        return read_id(r);
    case MAX_AGE:
        return read_max_age(r);
    default:
        return read_allow_stale(r);
    }
}

static bool read_members(reading *r)
{
    beast_json_token name;
    do {
        if (beast_json_peek(&r->json) != '"')
            return beast_json_unexpected(&r->json);
        if (!beast_json_string(&r->json, BEAST_JSON_TEXT, &name) || !beast_json_take(&r->json, ':'))
            return false;
        if (!read_value(r, name.escaped ? escaped_member(&name) : member_of(name.ptr, name.len)))
            return false;
    } while (beast_json_peek(&r->json) == ',' && r->json.at++);
    return beast_json_take(&r->json, '}');
}

static bool read_object(reading *r)
{
    if (!beast_json_take(&r->json, '{'))
        return false;
    if (beast_json_peek(&r->json) == '}')
        r->json.at++;
    else if (!read_members(r))
        return false;
    beast_json_skip_space(&r->json);
    return r->json.at == r->json.end || beast_json_unexpected(&r->json);
}

static beast_fault read_any(const uint8_t *buf, size_t len, beast_request *req)
{
    reading r = {.json = {.begin = buf, .at = buf, .end = buf + len}, .req = req};
    beast_request_clear(req);
    bool whole = read_object(&r);
    /* All that can be beyond ASCII in a whole object stands in its strings. */
    if ((!whole || r.json.wide) && !beast_utf8_valid(buf, len)) {
        whole = false;
        r.json.fault = BEAST_FAULT_UTF8;
    }
    if (!whole) {
        beast_request_clear(req);
        return req->fault = r.json.fault;
    }
    req->many = r.many;
    if (r.one && r.many)
        note(&r, BEAST_FAULT_BOTH_ASSETS);
    else if (!r.one && !r.many)
        note(&r, BEAST_FAULT_NO_ASSET);
    return req->fault;
}

static beast_fault __attribute__((noinline)) parse_any(const uint8_t *buf, size_t len, beast_request *req)
{
    if (len <= BEAST_DATAGRAM_MAX)
        return read_any(buf, len, req);
    beast_request_clear(req);
    return req->fault = BEAST_FAULT_TOO_LARGE;
}

beast_fault beast_request_parse(const uint8_t *buf, size_t len, beast_request *req)
{
    return beast_request_read_plain(buf, len, req) ? BEAST_FAULT_NONE : parse_any(buf, len, req);
}
