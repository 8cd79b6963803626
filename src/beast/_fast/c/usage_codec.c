#include "usage_codec.h"

#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* What a column's values are told as: the distance to the one before, or to the least of all. */
typedef enum basis { BEFORE, LEAST } basis;

typedef struct column {
    uint8_t at, width; /* of the member */
    uint8_t longest;   /* bytes of a token */
    uint8_t basis;
} column;

#define COLUMN(member, longest, basis) {offsetof(beast_usage, member), sizeof((beast_usage *)0)->member, longest, basis}

static const column COLUMNS[] = {
    COLUMN(time_ns, 10, BEFORE),
    COLUMN(key_id, 10, LEAST),
    COLUMN(key_number, 5, LEAST),
    COLUMN(instrument, 5, LEAST),
    COLUMN(age_ms, 5, LEAST),
    COLUMN(latency_ns, 5, LEAST),
    COLUMN(state, 2, LEAST),
    COLUMN(tier, 2, LEAST),
    COLUMN(protocol, 2, LEAST),
    COLUMN(way, 2, LEAST),
    COLUMN(prices, 3, LEAST),
    COLUMN(reserved, 2, LEAST),
};

enum {
    N_COLUMNS = sizeof COLUMNS / sizeof *COLUMNS,
    VARINT_MAX = 10,
    HEAD_MAX = 2 + 2 * VARINT_MAX,
    TOKEN_BITS = 6,
    REPEATED = 1 << TOKEN_BITS,
    MORE = 1 << 7,
};

INLINE uint64_t load(const beast_usage *record, uint32_t at, uint32_t width)
{
    const uint8_t *from = (const uint8_t *)record + at;
    uint64_t value = 0;
    memcpy(&value, from, width);
    return value;
}

INLINE uint64_t zigzag(uint64_t difference) { return difference << 1 ^ (uint64_t)((int64_t)difference >> 63); }
INLINE uint64_t unzigzag(uint64_t value) { return value >> 1 ^ -(value & 1); }

/* ---- to bytes ---- */

INLINE uint8_t *put_varint(uint8_t *out, uint64_t value)
{
    for (; value >= MORE; value >>= 7)
        *out++ = (uint8_t)(value | MORE);
    *out++ = (uint8_t)value;
    return out;
}

/* `repeats`: how often the value comes again right behind. */
INLINE uint8_t *put_token(uint8_t *out, uint64_t value, uint32_t repeats)
{
    uint64_t rest = value >> TOKEN_BITS;
    *out++ = (uint8_t)((value & (REPEATED - 1)) | (repeats ? REPEATED : 0) | (rest ? MORE : 0));
    if (rest)
        out = put_varint(out, rest);
    return repeats ? put_varint(out, repeats - 1) : out;
}

INLINE uint8_t *put_tokens(uint8_t *out, const beast_usage *records, uint32_t n, uint32_t at, uint32_t width, basis basis)
{
    uint64_t base = basis == LEAST ? UINT64_MAX : 0;

    for (uint32_t i = 0; basis == LEAST && i < n; i++) {
        uint64_t value = load(&records[i], at, width);
        base = value < base ? value : base;
    }
    if (basis == LEAST)
        out = put_varint(out, base);
    for (uint32_t i = 0, next; i < n; i = next) {
        uint64_t value = load(&records[i], at, width);
        for (next = i + 1; next < n && load(&records[next], at, width) == value;)
            next++;
        out = put_token(out, basis == BEFORE ? zigzag(value - base) : value - base, next - i - 1);
        base = basis == BEFORE ? value : base;
    }
    return out;
}

/* One loop for each width, which the compiler knows in it. */
static uint8_t *put_column(uint8_t *out, const beast_usage *records, uint32_t n, const column *column)
{
    switch (column->width) {
    case 1:
        return put_tokens(out, records, n, column->at, 1, LEAST);
    case 2:
        return put_tokens(out, records, n, column->at, 2, LEAST);
    case 4:
        return put_tokens(out, records, n, column->at, 4, LEAST);
    default:
        return put_tokens(out, records, n, column->at, 8, column->basis);
    }
}

size_t beast_usage_encode_max(uint32_t n)
{
    size_t a_record = 0;

    for (uint32_t c = 0; c < N_COLUMNS; c++)
        a_record += COLUMNS[c].longest;
    return HEAD_MAX + N_COLUMNS * VARINT_MAX + n * a_record;
}

uint32_t beast_usage_run(const beast_usage *records, uint32_t n)
{
    uint32_t i = n > 0;

    while (i < n && records[i].lane == records[0].lane && records[i].sequence == records[i - 1].sequence + 1 &&
           records[i].sequence != 0)
        i++;
    return i;
}

beast_status beast_usage_encode(const beast_usage *records, uint32_t n, uint8_t *out, size_t *len)
{
    uint8_t *end = out;

    if (n == 0 || n > BEAST_USAGE_RUN_MAX || beast_usage_run(records, n) != n)
        return BEAST_BAD_ARGUMENT;
    *end++ = BEAST_USAGE_VERSION;
    *end++ = records->lane;
    end = put_varint(end, n);
    end = put_varint(end, records->sequence);
    for (uint32_t c = 0; c < N_COLUMNS; c++)
        end = put_column(end, records, n, &COLUMNS[c]);
    *len = (size_t)(end - out);
    return BEAST_OK;
}

/* ---- from bytes, which may be anybody's ---- */

/* The next of them; `bad` sticks, and then everything read is 0. */
typedef struct source {
    const uint8_t *at, *end;
    bool bad;
} source;

INLINE uint8_t get_byte(source *in)
{
    if (in->at == in->end) {
        in->bad = true;
        return 0;
    }
    return *in->at++;
}

/* Of at most `bits` bits, of which `shift` are in `value` already. */
INLINE uint64_t get_rest(source *in, uint64_t value, uint32_t shift, uint32_t bits)
{
    for (;; shift += 7) {
        uint64_t byte = get_byte(in), digit = byte & (MORE - 1);
        if (shift >= bits || (bits - shift < 7 && digit >> (bits - shift))) {
            in->bad = true;
            return 0;
        }
        value |= digit << shift;
        if (!(byte & MORE))
            return value;
    }
}

INLINE uint64_t get_varint(source *in, uint32_t bits) { return get_rest(in, 0, 0, bits); }

/* `*repeats` as in put_token. */
INLINE uint64_t get_token(source *in, uint64_t *repeats)
{
    uint8_t first = get_byte(in);
    uint64_t value = first & (REPEATED - 1);

    if (first & MORE)
        value = get_rest(in, value, TOKEN_BITS, 64);
    *repeats = first & REPEATED ? get_varint(in, 32) + 1 : 0;
    return value;
}

INLINE void get_tokens(source *in, beast_usage *out, uint32_t n, uint32_t at, uint32_t width, basis basis)
{
    const uint64_t most = width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1;
    uint64_t base = basis == LEAST ? get_varint(in, 8 * width) : 0, repeats;

    for (uint32_t i = 0; i < n && !in->bad;) {
        uint64_t told = get_token(in, &repeats);
        uint64_t value = base + (basis == BEFORE ? unzigzag(told) : told);
        if (repeats >= n - i || (basis == LEAST && told > most - base)) {
            in->bad = true;
            return;
        }
        for (const uint32_t end = i + 1 + (uint32_t)repeats; i < end; i++)
            memcpy((uint8_t *)&out[i] + at, &value, width);
        base = basis == BEFORE ? value : base;
    }
}

static void get_column(source *in, beast_usage *out, uint32_t n, const column *column)
{
    switch (column->width) {
    case 1:
        get_tokens(in, out, n, column->at, 1, LEAST);
        return;
    case 2:
        get_tokens(in, out, n, column->at, 2, LEAST);
        return;
    case 4:
        get_tokens(in, out, n, column->at, 4, LEAST);
        return;
    default:
        get_tokens(in, out, n, column->at, 8, column->basis);
    }
}

static uint32_t get_head(source *in, uint8_t *lane)
{
    bool known = get_byte(in) == BEAST_USAGE_VERSION;
    *lane = get_byte(in);
    uint64_t n = get_varint(in, 32);

    return known && !in->bad && n <= BEAST_USAGE_RUN_MAX ? (uint32_t)n : 0;
}

beast_status beast_usage_decode_count(const uint8_t *data, size_t len, uint32_t *n)
{
    source in = {.at = data, .end = data + len};
    uint8_t lane;

    *n = get_head(&in, &lane);
    return *n ? BEAST_OK : BEAST_BAD_ARGUMENT;
}

beast_status beast_usage_decode(const uint8_t *data, size_t len, beast_usage *out, uint32_t n)
{
    source in = {.at = data, .end = data + len};
    uint8_t lane;
    bool agreed = get_head(&in, &lane) == n && n > 0;
    uint64_t first = get_varint(&in, 64);

    if (!agreed || in.bad || first > UINT64_MAX - (n - 1))
        return BEAST_BAD_ARGUMENT;
    for (uint32_t i = 0; i < n; i++) {
        out[i].sequence = first + i;
        out[i].lane = lane;
    }
    for (uint32_t c = 0; c < N_COLUMNS && !in.bad; c++)
        get_column(&in, out, n, &COLUMNS[c]);
    return in.bad || in.at != in.end ? BEAST_BAD_ARGUMENT : BEAST_OK;
}
