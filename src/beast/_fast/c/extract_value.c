/* Prices, symbols, times and numbers as frames write them. */
#include <string.h>

#include "extract.h"
#include "extract_scan.h"

bool beast_value_decode(const beast_value *value, uint8_t room[BEAST_VALUE_MAX], beast_slice *text)
{
    *text = (beast_slice){value->ptr, value->len};
    if (value->ptr == NULL || value->kind == BEAST_TOKEN_NULL || value->kind == BEAST_TOKEN_CONTAINER)
        return false;
    if (!value->escaped)
        return true;
    /* The walk has seen to the grammar only: half a surrogate pair may stand alone. */
    beast_json_token token;
    beast_json json = {.begin = value->ptr, .at = value->ptr - 1, .end = value->ptr + value->len + 1};
    if (!beast_json_string(&json, BEAST_JSON_TEXT, &token))
        return false;
    *text = (beast_slice){room, beast_json_decode(value->ptr, value->len, room, BEAST_VALUE_MAX)};
    return true;
}

/* Writes digits and point out: `digits` (n of them) with the point after the first `point`, which may lie outside.
 * Returns the length, or 0 when it is more than BEAST_PRICE_MAX. */
static uint32_t write_plain(const uint8_t *digits, int32_t n, int32_t point, uint8_t *out)
{
    int32_t len = 0, from = 0;
    while (from < n - 1 && from < point - 1 && digits[from] == '0')
        from++; /* zeros before the units, left by the mantissa */
    if (point <= 0) {
        if (2 - point + n > BEAST_PRICE_MAX)
            return 0;
        out[len++] = '0';
        out[len++] = '.';
        for (; point < 0; point++)
            out[len++] = '0';
    } else if ((point > n ? point : n + 1) - from > BEAST_PRICE_MAX + (point == n)) {
        return 0;
    }
    for (int32_t i = from; i < n; i++) {
        if (i == point && i > 0)
            out[len++] = '.';
        out[len++] = digits[i];
    }
    for (; n < point; n++)
        out[len++] = '0';
    return (uint32_t)len;
}

/* A decimal of the JSON grammar, perhaps with an exponent, written out; its point moved `scale` places to the left. */
static uint32_t write_out(const uint8_t *p, const uint8_t *end, int32_t scale, uint8_t *out)
{
    uint8_t digits[BEAST_VALUE_MAX];
    int32_t n = 0, point = -1, exponent = 0;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.')
            point = n;
        else
            digits[n++] = *p;
    }
    if (point < 0)
        point = n;
    p++;
    bool negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    for (; p < end; p++)
        if (exponent < 1000) /* beyond any price's length */
            exponent = exponent * 10 + (*p - '0');
    return write_plain(digits, n, (negative ? point - exponent : point + exponent) - scale, out);
}

static bool is_positive(const uint8_t *p, const uint8_t *end)
{
    for (; p < end; p++)
        if (*p >= '1' && *p <= '9')
            return true;
    return false;
}

bool beast_value_price(const beast_value *value, uint32_t scale, uint8_t room[BEAST_PRICE_MAX], beast_slice *price)
{
    uint8_t decoded[BEAST_VALUE_MAX];
    beast_slice text;
    if (!beast_value_text(value, decoded, &text))
        return false;
    const uint8_t *end = text.ptr + text.len, *mantissa = beast_scan_decimal(text.ptr, end);
    if (!mantissa || !is_positive(text.ptr, mantissa))
        return false;
    if (mantissa < end && ((*mantissa | 0x20) != 'e' || beast_scan_exponent(mantissa, end) != end))
        return false;
    if (mantissa < end || scale) {
        *price = (beast_slice){room, write_out(text.ptr, end, (int32_t)scale, room)};
        return price->len > 0;
    }
    if (text.len > BEAST_PRICE_MAX)
        return false;
    *price = text;
    if (value->escaped) {
        memcpy(room, text.ptr, text.len);
        price->ptr = room;
    }
    return true;
}

/* Ten to the power of 0 .. 9. */
static const int64_t POWERS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

/* The digits at *p as a fraction of ten to the `power`, what is smaller cut off; moves *p behind them. */
static int64_t read_fraction(const uint8_t **p, const uint8_t *end, uint32_t power)
{
    int64_t value = 0;
    const uint8_t *at = *p;
    for (; power > 0 && at < end && beast_json_is_digit(*at); at++, power--)
        value = value * 10 + (*at - '0');
    while (at < end && beast_json_is_digit(*at))
        at++;
    *p = at;
    return value * POWERS[power];
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits at once, neighbours put together three times; false when there are others among them. */
static inline bool read_eight(const uint8_t *p, int64_t *value)
{
    uint64_t word = beast_load(p), high = UINT64_C(0xF0F0F0F0F0F0F0F0), zeros = UINT64_C(0x3030303030303030);
    if ((word & high) != zeros || ((word + UINT64_C(0x0606060606060606)) & high) != zeros)
        return false;
    word = (word & ~high) * (1 + (10 << 8)) >> 8;
    word = (word & UINT64_C(0x00FF00FF00FF00FF)) * (1 + (100 << 16)) >> 16;
    *value = (int64_t)((word & UINT64_C(0x0000FFFF0000FFFF)) * (1 + (UINT64_C(10000) << 32)) >> 32);
    return true;
}
#else
static inline bool read_eight(const uint8_t *p, int64_t *value)
{
    (void)p, (void)value;
    return false;
}
#endif

/* `power`: the unit is ten to it, in ns. */
static int64_t unix_time(const uint8_t *p, const uint8_t *end, uint32_t power)
{
    const uint8_t *start = p;
    int64_t whole = 0;
    if (end - p >= 8 && read_eight(p, &whole))
        p += 8;
    for (; p < end && p - start < 18 && beast_json_is_digit(*p); p++)
        whole = whole * 10 + (*p - '0');
    if (p == start)
        return 0;
    if (p < end && beast_json_is_digit(*p)) { /* a 19th digit may still fit */
        int64_t digit = *p++ - '0';
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, digit, &whole))
            return 0;
    }
    if (__builtin_mul_overflow(whole, POWERS[power], &whole))
        return 0;
    if (end - p >= 2 && *p == '.') {
        p++;
        if (__builtin_add_overflow(whole, read_fraction(&p, end, power), &whole))
            return 0;
    }
    return p == end ? whole : 0;
}

/* Days since 1970-01-01 of the proleptic Gregorian calendar. */
static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = month <= 2 ? year - 1 : year; /* years begin in March: the leap day is the last one */
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719468;
}

static int64_t days_of_month(int64_t year, int64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* The number that two digits make; sets *bad when they are none. */
static inline int64_t two(const uint8_t *p, uint32_t *bad)
{
    uint32_t high = (uint8_t)(p[0] - '0'), low = (uint8_t)(p[1] - '0');
    *bad |= (high > 9) | (low > 9);
    return high * 10 + low;
}

static bool read_zone(const uint8_t *p, const uint8_t *end, int64_t *offset_s)
{
    uint32_t bad = 0;
    *offset_s = 0;
    if (end - p == 1 && (*p | 0x20) == 'z')
        return true;
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':')
        return false;
    int64_t hours = two(p + 1, &bad), minutes = two(p + 4, &bad);
    *offset_s = (hours * 60 + minutes) * (*p == '-' ? -60 : 60);
    return !bad && hours <= 23 && minutes <= 59;
}

/* RFC 3339, 5.6; the separator may be a space, and 23:59:60 is the second after 23:59:59. */
static int64_t rfc3339_time(const uint8_t *p, const uint8_t *end)
{
    uint32_t bad = 0;
    int64_t fraction = 0, offset_s;
    if (end - p < 20) /* YYYY-MM-DDTHH:MM:SSZ */
        return 0;
    int64_t year = two(p, &bad) * 100 + two(p + 2, &bad), month = two(p + 5, &bad), day = two(p + 8, &bad);
    int64_t hour = two(p + 11, &bad), minute = two(p + 14, &bad), second = two(p + 17, &bad);
    bad |= (p[4] != '-') | (p[7] != '-') | ((p[10] | 0x20) != 't' && p[10] != ' ') | (p[13] != ':') | (p[16] != ':');
    if (bad || year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) ||
        hour > 23 || minute > 59 || second > 60)
        return 0;
    p += 19;
    if (end - p >= 2 && *p == '.' && beast_json_is_digit(p[1])) {
        p++;
        fraction = read_fraction(&p, end, 9);
    }
    if (!read_zone(p, end, &offset_s))
        return 0;
    int64_t s = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    return s < 0 ? 0 : s * POWERS[9] + fraction;
}

int64_t beast_value_time(const beast_value *value, beast_time_format format)
{
    static const uint8_t powers[] = {
        [BEAST_TIME_UNIX_S] = 9, [BEAST_TIME_UNIX_MS] = 6, [BEAST_TIME_UNIX_US] = 3, [BEAST_TIME_UNIX_NS] = 0};
    uint8_t room[BEAST_VALUE_MAX];
    beast_slice text;
    if (!beast_value_text(value, room, &text))
        return 0;
    if (format == BEAST_TIME_RFC3339)
        return rfc3339_time(text.ptr, text.ptr + text.len);
    return unix_time(text.ptr, text.ptr + text.len, powers[format]);
}

bool beast_value_sequence(const beast_value *value, uint64_t *sequence)
{
    uint8_t room[BEAST_VALUE_MAX];
    beast_slice text;
    int64_t eight;
    uint64_t number = 0;
    if (!beast_value_text(value, room, &text) || text.len > 20)
        return false;
    const uint8_t *p = text.ptr, *end = p + text.len;
    if (end - p >= 8 && read_eight(p, &eight)) {
        number = (uint64_t)eight;
        p += 8;
    }
    for (; p < end && p - text.ptr < 19 && beast_json_is_digit(*p); p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (p < end && beast_json_is_digit(*p)) { /* a 20th digit may still fit */
        uint64_t digit = (uint64_t)(*p++ - '0');
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, digit, &number))
            return false;
    }
    *sequence = number;
    return p == end;
}
