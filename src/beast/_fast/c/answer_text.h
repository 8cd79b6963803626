/* The words of an answer, member by member, as docs/protocol.md sections 2, 4 and 5 order them. Every function
 * writes at `out` and returns where it stopped; some copy whole words past that, so the room has slack. */
#ifndef BEAST_ANSWER_TEXT_H
#define BEAST_ANSWER_TEXT_H

#include <string.h>

#include "answer.h"

/* Copies a string literal; its length is known to the compiler, so this is a few stores. */
#define BEAST_PUT(out, literal) (memcpy((out), (literal), sizeof(literal) - 1), (out) + sizeof(literal) - 1)

static inline uint8_t *beast_put_bytes(uint8_t *out, const void *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return out + len;
}

/* The decimal digits of `value`, right-aligned with spaces to `width` columns or more. */
uint8_t *beast_put_number(uint8_t *out, uint64_t value, uint32_t width);

/* Few bytes, as copies of fixed size that overlap: cheaper than a call, and none reads or writes beyond them. */
static inline uint8_t *beast_put_token(uint8_t *out, const uint8_t *bytes, uint32_t len)
{
    uint8_t *end = out + len;
    const uint8_t *stop = bytes + len;
    if (len >= 16) {
        for (; stop - bytes > 16; out += 16, bytes += 16)
            memcpy(out, bytes, 16);
        memcpy(end - 16, stop - 16, 16);
    } else if (len >= 8) {
        memcpy(out, bytes, 8);
        memcpy(end - 8, stop - 8, 8);
    } else if (len >= 4) {
        memcpy(out, bytes, 4);
        memcpy(end - 4, stop - 4, 4);
    } else if (len > 0) {
        out[0] = bytes[0];
        out[len / 2] = bytes[len / 2];
        end[-1] = stop[-1];
    }
    return end;
}

/* `,"id":TOKEN`, or nothing. */
static inline uint8_t *beast_put_id(uint8_t *out, const beast_request *req)
{
    if (!req->id.ptr)
        return out;
    out = BEAST_PUT(out, ",\"id\":");
    return beast_put_token(out, req->id.ptr, req->id.len);
}

/* The id, and the brace that closes the whole. */
static inline uint8_t *beast_put_close(uint8_t *out, const beast_request *req)
{
    out = beast_put_id(out, req);
    *out++ = '}';
    return out;
}

#define BEAST_AGE ",\"age_ms\":"
#define BEAST_AGE_COLUMNS 6 /* enough for 999,999 ms */

extern const char beast_below_1000[]; /* 0 to 999 in four columns each */

/* Behind a slot's text the rest of section 2's object, closed; behind that spaces, so that BEAST_REST_ROOM bytes are
 * written. */
uint8_t *beast_put_rest(uint8_t *out, const beast_shared *shared, beast_state state, uint8_t tier, uint64_t age_ms);

/* The same of a live price that is less than a second old, with spaces up to BEAST_ANSWER_PAD behind `start`, where the
 * slot's text begins. */
static inline uint8_t *beast_put_live_rest(uint8_t *start, uint32_t text_len, const beast_rest *rest, uint32_t age_ms)
{
    enum { MOST = 128, MORE = BEAST_REST_ROOM - MOST };
    static_assert(MOST + 128 == BEAST_ANSWER_PAD, "behind a text of 128 bytes the most is enough");
    static_assert(sizeof BEAST_AGE ",\"state\":\"live\",\"tier\":1,\"node\":\"\"}" + BEAST_AGE_COLUMNS + BEAST_NODE_MAX <= MOST,
                  "it holds all words");
    uint8_t *out = start + text_len;
    const uint32_t len = rest->len; /* read before bytes are written, which might be anybody's */
    memcpy(out, rest->text, MOST);
    if (__builtin_expect(text_len < 128, 0))
        memcpy(out + MOST, rest->text + MOST, MORE);
    memcpy(out + sizeof BEAST_AGE - 1 + BEAST_AGE_COLUMNS - 4, beast_below_1000 + 4 * age_ms, 4);
    return out + len;
}

/* The price that an error tells as the last one. */
typedef struct beast_last {
    const beast_price *price;
    const uint8_t *text;
    uint64_t age_ms;
} beast_last;

/* `"error":…` up to `last`; `fault` matters for BAD_REQUEST, `retry_ns` for RATE_LIMITED, `last` may be NULL. */
uint8_t *beast_put_error(uint8_t *out, beast_result result, beast_fault fault, int64_t retry_ns, bool message,
                         const beast_last *last);

/* `"asset":"NAME"` as it was asked: letters a-z raised, unless the name holds an escape. */
uint8_t *beast_put_asset(uint8_t *out, const beast_name *asset);

#endif
