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

/* At most 66 bytes, as two or more copies that overlap: of so few, cheaper than a call. */
static inline uint8_t *beast_put_token(uint8_t *out, const uint8_t *bytes, uint32_t len)
{
    if (len < 8)
        return beast_put_bytes(out, bytes, len);
    for (uint32_t at = 0; at + 8 < len; at += 8)
        memcpy(out + at, bytes + at, 8);
    memcpy(out + len - 8, bytes + len - 8, 8);
    return out + len;
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

/* Behind a slot's text the rest of section 2's object, closed; behind that spaces, so that BEAST_REST_ROOM bytes are
 * written. */
uint8_t *beast_put_rest(uint8_t *out, const beast_shared *shared, beast_state state, uint8_t tier, uint64_t age_ms);

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
