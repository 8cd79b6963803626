#include "answer_text.h"

#include <stdio.h>

typedef struct text {
    const char *ptr;
    uint32_t len;
} text;

#define TEXT(literal) {(literal), sizeof(literal) - 1}

static const char *const STATES[] = {
    [BEAST_STATE_LIVE] = "live",
    [BEAST_STATE_QUIET] = "quiet",
    [BEAST_STATE_STALE] = "stale",
};

static const text CODES[] = {
#define X(name, code, http, reason, message) TEXT("\"error\":\"" code "\""),
    BEAST_RESULTS(X)
#undef X
};

static const text MESSAGES[] = {
#define X(name, code, http, reason, message) TEXT(",\"message\":\"" message "\""),
    BEAST_RESULTS(X)
#undef X
};

static const text FAULT_MESSAGES[] = {
#define X(name, message) TEXT(",\"message\":\"" message "\""),
    BEAST_FAULTS(X)
#undef X
};

static const beast_result_info RESULT_INFO[] = {
#define X(name, code, http, reason, message) {#name, code, http, reason, message},
    BEAST_RESULTS(X)
#undef X
};

static const char *const FAULT_NAMES[] = {
#define X(name, message) #name,
    BEAST_FAULTS(X)
#undef X
};

static const char *const FAULT_PLAIN[] = {
#define X(name, message) message,
    BEAST_FAULTS(X)
#undef X
};

const beast_result_info *beast_result_describe(beast_result result)
{
    return &RESULT_INFO[result];
}

const char *beast_fault_name(beast_fault fault)
{
    return FAULT_NAMES[fault];
}

const char *beast_fault_message(beast_fault fault)
{
    return FAULT_PLAIN[fault];
}

static inline uint8_t *put_text(uint8_t *out, text words)
{
    return beast_put_bytes(out, words.ptr, words.len);
}

uint8_t *beast_put_number(uint8_t *out, uint64_t value, uint32_t width)
{
    uint8_t digits[20];
    uint32_t at = sizeof digits;

    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    uint32_t len = (uint32_t)sizeof digits - at;
    for (; len < width; width--)
        *out++ = ' ';
    return beast_put_bytes(out, digits + at, len);
}

#define UNITS(t) t "0" t "1" t "2" t "3" t "4" t "5" t "6" t "7" t "8" t "9"
#define TENS(h)                                                                                   \
    UNITS(h "0") UNITS(h "1") UNITS(h "2") UNITS(h "3") UNITS(h "4")                              \
    UNITS(h "5") UNITS(h "6") UNITS(h "7") UNITS(h "8") UNITS(h "9")
const char beast_below_1000[] =
    UNITS("   ") UNITS("  1") UNITS("  2") UNITS("  3") UNITS("  4")
    UNITS("  5") UNITS("  6") UNITS("  7") UNITS("  8") UNITS("  9")
    TENS(" 1") TENS(" 2") TENS(" 3") TENS(" 4") TENS(" 5") TENS(" 6") TENS(" 7") TENS(" 8") TENS(" 9");

void beast_rests_build(beast_rest rests[BEAST_STATES][BEAST_TIERS], const char *node)
{
    for (uint32_t state = 0; state < BEAST_STATES; state++)
        for (uint32_t tier = 1; tier <= BEAST_TIERS; tier++) {
            beast_rest *rest = &rests[state][tier - 1];
            char text[sizeof rest->text];
            rest->len = (uint32_t)snprintf(text, sizeof text,
                                           BEAST_AGE "%*s,\"state\":\"%s\",\"tier\":%u,\"node\":\"%s\"}", BEAST_AGE_COLUMNS, "",
                                           STATES[state], tier, node);
            memset(rest->text, ' ', sizeof rest->text);
            memcpy(rest->text, text, rest->len);
        }
}

uint8_t *beast_put_rest(uint8_t *out, const beast_shared *shared, beast_state state, uint8_t tier, uint64_t age_ms)
{
    const uint32_t before = sizeof BEAST_AGE - 1, behind = before + BEAST_AGE_COLUMNS;
    const beast_rest *rest = &shared->rests[state][tier - 1];
    const uint32_t len = rest->len; /* read before bytes are written, which might be anybody's */

    if (age_ms > 999999) {
        out = beast_put_number(BEAST_PUT(out, BEAST_AGE), age_ms, 0);
        memcpy(out, rest->text + behind, sizeof rest->text - behind);
        return out + len - behind;
    }
    memcpy(out, rest->text, sizeof rest->text);
    uint8_t *digit = out + behind;
    uint32_t left = (uint32_t)age_ms;
    for (; left > 999; left /= 10)
        *--digit = (uint8_t)('0' + left % 10);
    memcpy(digit - 3, beast_below_1000 + 4 * left + 1, 3);
    return out + len;
}

uint8_t *beast_put_error(uint8_t *out, beast_result result, beast_fault fault, int64_t retry_ns, bool message,
                         const beast_last *last)
{
    out = put_text(out, CODES[result]);
    if (message)
        out = put_text(out, result == BEAST_RESULT_BAD_REQUEST ? FAULT_MESSAGES[fault] : MESSAGES[result]);
    if (result == BEAST_RESULT_RATE_LIMITED) {
        out = BEAST_PUT(out, ",\"retry_after_ms\":");
        out = beast_put_number(out, ((uint64_t)retry_ns + 999999) / 1000000, 0);
    }
    if (last) {
        const beast_price *price = last->price;
        out = BEAST_PUT(out, ",\"last\":{\"price\":");
        out = beast_put_bytes(out, last->text + price->price_at, price->price_len);
        out = BEAST_PUT(out, ",\"timestamp\":\"");
        out = beast_put_bytes(out, last->text + price->timestamp_at, price->timestamp_len);
        out = BEAST_PUT(out, "\",\"age_ms\":");
        out = beast_put_number(out, last->age_ms, 0);
        *out++ = '}';
    }
    return out;
}

uint8_t *beast_put_asset(uint8_t *out, const beast_name *asset)
{
    out = BEAST_PUT(out, "\"asset\":\"");
    for (uint32_t i = 0; i < asset->raw.len; i++) {
        uint8_t c = asset->raw.ptr[i];
        *out++ = !asset->escaped && c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c;
    }
    *out++ = '"';
    return out;
}
