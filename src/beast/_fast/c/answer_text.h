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

/* `,"id":TOKEN`, or nothing. */
static inline uint8_t *beast_put_id(uint8_t *out, const beast_request *req)
{
    if (!req->id.ptr)
        return out;
    out = BEAST_PUT(out, ",\"id\":");
    return beast_put_bytes(out, req->id.ptr, req->id.len);
}

/* The object of section 2, left open after "node". */
uint8_t *beast_put_price(uint8_t *out, const beast_shared *shared, const beast_price *price, beast_state state,
                         uint64_t age_ms);

/* `"error":…` up to `last`; `fault` matters for BAD_REQUEST, `retry_ns` for RATE_LIMITED, `last` may be NULL. */
uint8_t *beast_put_error(uint8_t *out, beast_result result, beast_fault fault, int64_t retry_ns, bool message,
                         const beast_price *last, uint64_t last_age_ms);

/* `"asset":"NAME"` as it was asked: letters a-z raised, unless the name holds an escape. */
uint8_t *beast_put_asset(uint8_t *out, const beast_name *asset);

#endif
