/* Any bytes as a UDP request: the reader stays inside them, says the same each time, and what it hands out lies
 * where it may. */
#include <stdlib.h>
#include <string.h>

#include "request.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

static bool inside(beast_slice slice, const uint8_t *memory, size_t len)
{
    return slice.ptr >= memory && slice.ptr <= memory + len && slice.len <= len - (size_t)(slice.ptr - memory);
}

static void check_name(const beast_name *name, const uint8_t *data, size_t size)
{
    MUST(inside(name->raw, data, size));
    MUST(name->len > 0 && name->len <= name->raw.len);
    MUST(name->escaped == (memchr(name->raw.ptr, '\\', name->raw.len) != NULL));
    if (name->len > BEAST_ASSET_MAX)
        MUST((name->word[0] | name->word[1] | name->word[2]) == 0);
}

static void check_id(beast_slice id)
{
    MUST(id.len >= 1 && id.len <= BEAST_ID_TOKEN_MAX);
    if (*id.ptr == '"')
        MUST(id.len >= 2 && id.ptr[id.len - 1] == '"');
    else
        MUST(id.len <= BEAST_ID_MAX && id.ptr[id.len - 1] >= '0' && id.ptr[id.len - 1] <= '9');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_request first, second;
    uint8_t *scratch = malloc(size + 1);
    first.scratch = second.scratch = scratch;
    beast_fault fault = beast_request_parse(data, size, &second);
    MUST(beast_request_parse(data, size, &first) == fault && first.fault == fault && fault < BEAST_FAULT_COUNT);
    MUST(first.n_assets == second.n_assets && first.n_assets <= BEAST_ASSETS_MAX);
    bool ended = fault >= BEAST_FAULT_TOO_LARGE && fault <= BEAST_FAULT_DEPTH;
    if (first.id.ptr) {
        MUST(!ended && inside(first.id, data, size));
        check_id(first.id);
    }
    if (first.api_key.ptr)
        MUST(!ended && (inside(first.api_key, data, size) || inside(first.api_key, scratch, size)));
    if (fault == BEAST_FAULT_NONE) {
        MUST(first.n_assets >= 1 && (first.many || first.n_assets == 1));
        for (uint32_t i = 0; i < first.n_assets; i++)
            check_name(&first.assets[i], data, size);
        if (first.has_exchange)
            check_name(&first.exchange, data, size);
    }
    free(scratch);
    return 0;
}
