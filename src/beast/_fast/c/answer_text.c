#include "answer_text.h"

typedef struct text {
    const char *ptr;
    uint32_t len;
} text;

#define TEXT(literal) {(literal), sizeof(literal) - 1}

static const text STATES[] = {
    [BEAST_STATE_LIVE] = TEXT(",\"state\":\"live\",\"tier\":"),
    [BEAST_STATE_QUIET] = TEXT(",\"state\":\"quiet\",\"tier\":"),
    [BEAST_STATE_STALE] = TEXT(",\"state\":\"stale\",\"tier\":"),
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

uint8_t *beast_put_price(uint8_t *out, const beast_shared *shared, const beast_price *price, beast_state state,
                         uint64_t age_ms)
{
    memcpy(out, price->text, BEAST_SLOT_TEXT);
    out = BEAST_PUT(out + price->text_len, ",\"age_ms\":");
    if (age_ms <= 999999) { /* six columns, the last digit always: no loop needs to know the length */
        uint32_t rest = (uint32_t)age_ms;
        memset(out, ' ', 6);
        uint8_t *digit = out + 5;
        do {
            *digit-- = (uint8_t)('0' + rest % 10);
            rest /= 10;
        } while (rest);
        out += 6;
    } else {
        out = beast_put_number(out, age_ms, 6);
    }
    memcpy(out, STATES[state].ptr, 24); /* the longest of them; a shorter one brings its zero */
    out += STATES[state].len;
    *out++ = (uint8_t)('0' + price->tier);
    memcpy(out, shared->tail, sizeof shared->tail);
    return out + shared->tail_len;
}

uint8_t *beast_put_error(uint8_t *out, beast_result result, beast_fault fault, int64_t retry_ns, bool message,
                         const beast_price *last, uint64_t last_age_ms)
{
    out = put_text(out, CODES[result]);
    if (message)
        out = put_text(out, result == BEAST_RESULT_BAD_REQUEST ? FAULT_MESSAGES[fault] : MESSAGES[result]);
    if (result == BEAST_RESULT_RATE_LIMITED) {
        out = BEAST_PUT(out, ",\"retry_after_ms\":");
        out = beast_put_number(out, ((uint64_t)retry_ns + 999999) / 1000000, 0);
    }
    if (last) {
        const uint8_t *words = (const uint8_t *)last->text;
        out = BEAST_PUT(out, ",\"last\":{\"price\":");
        out = beast_put_bytes(out, words + last->price_at, last->price_len);
        out = BEAST_PUT(out, ",\"timestamp\":\"");
        out = beast_put_bytes(out, words + last->timestamp_at, last->timestamp_len);
        out = BEAST_PUT(out, "\",\"age_ms\":");
        out = beast_put_number(out, last_age_ms, 0);
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
