#include <string.h>

#include "price_layout.h"

static const char PAIRS[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

static inline void write2(uint8_t *out, uint32_t value) { memcpy(out, PAIRS + 2 * value, 2); }

static inline void write3(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)('0' + value / 100);
    write2(out + 1, value % 100);
}

/* Days since 1970 to a date, by eras of 400 years that begin on 1 March: Howard Hinnant, "chrono-compatible
 * low-level date algorithms", civil_from_days. */
static inline void write_date(uint8_t *out, uint32_t days)
{
    uint32_t since_march = days + 719468; /* days since 0000-03-01 */
    uint32_t era = since_march / 146097, day_of_era = since_march % 146097;
    uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    uint32_t day = day_of_year - (153 * month + 2) / 5 + 1;
    uint32_t year = year_of_era + 400 * era + (month >= 10);
    write2(out, year / 100);
    write2(out + 2, year % 100);
    out[4] = '-';
    write2(out + 5, month < 10 ? month + 3 : month - 9);
    out[7] = '-';
    write2(out + 8, day);
}

uint32_t beast_write_time(uint8_t *out, int64_t time_ns)
{
    if (time_ns < 0)
        return 0;
    uint64_t seconds = (uint64_t)time_ns / 1000000000, days = seconds / 86400;
    uint32_t nanos = (uint32_t)((uint64_t)time_ns - seconds * 1000000000);
    uint32_t second_of_day = (uint32_t)(seconds - days * 86400);
    write_date(out, (uint32_t)days);
    out[10] = 'T';
    write2(out + 11, second_of_day / 3600);
    out[13] = ':';
    write2(out + 14, second_of_day / 60 % 60);
    out[16] = ':';
    write2(out + 17, second_of_day % 60);
    out[19] = '.';
    write3(out + 20, nanos / 1000000);
    write3(out + 23, nanos / 1000 % 1000);
    uint32_t len = 26;
    if (nanos % 1000 != 0) {
        write3(out + 26, nanos % 1000);
        len = 29;
    }
    out[len] = 'Z';
    return len + 1;
}

static inline bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

bool beast_is_decimal(const uint8_t *text, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && is_digit(text[i]))
        i++;
    if (i == 0 || (text[0] == '0' && i > 1))
        return false;
    if (i == len)
        return true;
    if (text[i] != '.' || ++i == len)
        return false;
    while (i < len && is_digit(text[i]))
        i++;
    return i == len;
}

double beast_decimal_value(const uint8_t *text, uint32_t len)
{
    static const double power_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                          1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27,
                                          1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40};
    static_assert(sizeof power_of_ten / sizeof *power_of_ten > BEAST_PRICE_MAX, "a price has no more digits");
    const uint64_t full = UINT64_MAX / 10 - 1;
    uint64_t digits = 0;
    uint32_t i = 0, whole = len, beyond = 0;
    for (; i < len; i++) {
        if (text[i] == '.')
            whole = i;
        else if (digits <= full)
            digits = digits * 10 + (text[i] - '0');
        else
            beyond++; /* digits that a double can't hold, either */
    }
    uint32_t fraction = whole < len ? len - 1 - whole : 0;
    return fraction >= beyond ? (double)digits / power_of_ten[fraction - beyond]
                              : (double)digits * power_of_ten[beyond - fraction];
}
