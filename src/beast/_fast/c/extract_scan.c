#include "extract_scan.h"

const uint8_t *beast_scan_rare_string(beast_json *json, const uint8_t *p, beast_json_text text, beast_value *value)
{
    beast_json_token token;
    json->at = p;
    if (!beast_json_string(json, text, &token))
        return NULL;
    *value = (beast_value){token.ptr, token.len, BEAST_TOKEN_STRING, token.escaped};
    return json->at;
}

const uint8_t *beast_scan_exponent(const uint8_t *p, const uint8_t *end)
{
    p++;
    p += p < end && (*p == '+' || *p == '-');
    const uint8_t *digits = p;
    p = beast_scan_digits(p, end);
    return p == digits ? NULL : p;
}

const uint8_t *beast_scan_literal(const uint8_t *p, const uint8_t *end, const char *word, uint32_t len)
{
    return (size_t)(end - p) >= len && beast_same_bytes(p, (const uint8_t *)word, len) ? p + len : NULL;
}

/* One bit of `objects` for each open container says which kind it is. */
const uint8_t *beast_scan_skip(beast_json *json, const uint8_t *p, uint32_t depth)
{
    const uint8_t *end = json->end;
    uint64_t objects = 0;
    uint32_t open = 0;
    beast_value value;
    for (;;) {
        uint8_t c = p < end ? *p : 0;
        if (c == '{' || c == '[') {
            if (depth + open >= BEAST_FRAME_DEPTH_MAX)
                return NULL;
            objects = objects << 1 | (c == '{');
            open++;
            p++;
            if (beast_scan_peek(&p, end) != c + 2) { /* '}' and ']' stand two after '{' and '[' */
                if (c == '{' && !(p = beast_scan_name(json, p, &value)))
                    return NULL;
                continue;
            }
        } else {
            p = beast_scan_scalar(json, p, &value);
            if (!p || open == 0)
                return p;
        }
        for (uint8_t after; (after = beast_scan_peek(&p, end)) != ',';) {
            if (after != (objects & 1 ? '}' : ']'))
                return NULL;
            p++;
            objects >>= 1;
            if (--open == 0)
                return p;
        }
        p = beast_scan_space(p + 1, end);
        if ((objects & 1) && !(p = beast_scan_name(json, p, &value)))
            return NULL;
    }
}
