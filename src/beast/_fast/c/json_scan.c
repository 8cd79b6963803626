#include "json_scan.h"

static void digits(beast_json *json)
{
    while (json->at < json->end && beast_json_is_digit(*json->at))
        json->at++;
}

static bool some_digits(beast_json *json)
{
    if (json->at >= json->end || !beast_json_is_digit(*json->at))
        return beast_json_unexpected(json);
    digits(json);
    return true;
}

static bool next_is(const beast_json *json, uint8_t c)
{
    return json->at < json->end && *json->at == c;
}

bool beast_json_number(beast_json *json, beast_json_token *token)
{
    token->ptr = json->at;
    token->integer = true;
    if (next_is(json, '-'))
        json->at++;
    if (next_is(json, '0'))
        json->at++; /* and no digit may follow */
    else if (!some_digits(json))
        return false;
    if (next_is(json, '.')) {
        token->integer = false;
        json->at++;
        if (!some_digits(json))
            return false;
    }
    if (next_is(json, 'e') || next_is(json, 'E')) {
        token->integer = false;
        json->at++;
        if (next_is(json, '+') || next_is(json, '-'))
            json->at++;
        if (!some_digits(json))
            return false;
    }
    token->len = (uint32_t)(json->at - token->ptr);
    return true;
}

bool beast_json_literal(beast_json *json, const char *word)
{
    for (; *word; word++, json->at++)
        if (!next_is(json, (uint8_t)*word))
            return beast_json_unexpected(json);
    return true;
}

static bool skip_members(beast_json *json, beast_json_text text, uint32_t depth)
{
    beast_json_token name;
    do {
        if (beast_json_peek(json) != '"')
            return beast_json_unexpected(json);
        if (!beast_json_string(json, text, &name) || !beast_json_take(json, ':'))
            return false;
        beast_json_skip_space(json);
        if (!beast_json_skip(json, text, depth))
            return false;
    } while (beast_json_peek(json) == ',' && json->at++);
    return beast_json_take(json, '}');
}

static bool skip_entries(beast_json *json, beast_json_text text, uint32_t depth)
{
    do {
        beast_json_skip_space(json);
        if (!beast_json_skip(json, text, depth))
            return false;
    } while (beast_json_peek(json) == ',' && json->at++);
    return beast_json_take(json, ']');
}

bool beast_json_skip(beast_json *json, beast_json_text text, uint32_t depth)
{
    beast_json_token token;
    if (json->at >= json->end)
        return beast_json_unexpected(json);
    switch (*json->at) {
    case '"':
        return beast_json_string(json, text, &token);
    case 't':
        return beast_json_literal(json, "true");
    case 'f':
        return beast_json_literal(json, "false");
    case 'n':
        return beast_json_literal(json, "null");
    case '{':
    case '[':
        break;
    default:
        return beast_json_number(json, &token);
    }
    if (depth >= BEAST_DEPTH_MAX) {
        json->fault = BEAST_FAULT_DEPTH;
        return false;
    }
    bool object = *json->at++ == '{';
    if (beast_json_peek(json) == (object ? '}' : ']')) {
        json->at++;
        return true;
    }
    return object ? skip_members(json, text, depth + 1) : skip_entries(json, text, depth + 1);
}

static uint32_t encode_utf8(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* One character of a well-formed token, from *p on. */
static uint32_t decode_one(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    const uint8_t *at = *p;
    if (*at != '\\') {
        out[0] = *at;
        *p = at + 1;
        return 1;
    }
    if (at[1] != 'u') {
        const char *letter = memchr(letters, at[1], 5);
        out[0] = letter ? (uint8_t)meanings[letter - letters] : at[1];
        *p = at + 2;
        return 1;
    }
    uint32_t unit = (uint32_t)beast_json_hex4(at + 2, end);
    at += 6;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        uint32_t low = (uint32_t)beast_json_hex4(at + 2, end);
        at += 6;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    *p = at;
    return encode_utf8(unit, out);
}

uint32_t beast_json_decode(const uint8_t *raw, uint32_t len, uint8_t *out, uint32_t room)
{
    const uint8_t *p = raw, *end = raw + len;
    uint32_t whole = 0;
    while (p < end) {
        uint8_t bytes[4];
        uint32_t n = decode_one(&p, end, bytes);
        for (uint32_t i = 0; i < n; i++)
            if (whole + i < room)
                out[whole + i] = bytes[i];
        whole += n;
    }
    return whole;
}

static uint32_t sequence_length(const uint8_t *p, size_t left)
{
    uint8_t lead = p[0], low = 0x80, high = 0xBF;
    uint32_t len;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF)
        len = 2;
    else if (lead >= 0xE0 && lead <= 0xEF)
        len = 3;
    else if (lead >= 0xF0 && lead <= 0xF4)
        len = 4;
    else
        return 0;
    if (left < len)
        return 0;
    if (lead == 0xE0)
        low = 0xA0; /* shorter forms exist */
    else if (lead == 0xED)
        high = 0x9F; /* surrogates */
    else if (lead == 0xF0)
        low = 0x90; /* shorter forms exist */
    else if (lead == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    if (p[1] < low || p[1] > high)
        return 0;
    for (uint32_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool beast_utf8_valid(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t step = sequence_length(text + i, len - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}
