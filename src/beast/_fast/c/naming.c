#include "naming.h"

#include <string.h>

beast_status beast_naming_set(beast_naming *naming, beast_fold fold, beast_slice prefix, beast_slice suffix)
{
    if (prefix.len > BEAST_VALUE_MAX || suffix.len > BEAST_VALUE_MAX)
        return BEAST_BAD_ARGUMENT;
    naming->fold = fold;
    naming->prefix_len = prefix.len;
    naming->suffix_len = suffix.len;
    if (prefix.len)
        memcpy(naming->prefix, prefix.ptr, prefix.len);
    if (suffix.len)
        memcpy(naming->suffix, suffix.ptr, suffix.len);
    return BEAST_OK;
}

static uint8_t fold_byte(uint8_t c, beast_fold fold)
{
    uint8_t lower = c | 0x20;
    if (lower < 'a' || lower > 'z')
        return c;
    return fold == BEAST_FOLD_LOWER ? lower : lower & 0xDF;
}

beast_slice beast_naming_apply(const beast_naming *naming, beast_slice symbol, uint8_t room[BEAST_VALUE_MAX])
{
    uint32_t prefix = naming->prefix_len, suffix = naming->suffix_len;
    if (prefix && symbol.len >= prefix && memcmp(symbol.ptr, naming->prefix, prefix) == 0) {
        symbol.ptr += prefix;
        symbol.len -= prefix;
    }
    if (suffix && symbol.len >= suffix && memcmp(symbol.ptr + symbol.len - suffix, naming->suffix, suffix) == 0)
        symbol.len -= suffix;
    if (naming->fold == BEAST_FOLD_NONE)
        return symbol;
    for (uint32_t i = 0; i < symbol.len; i++)
        room[i] = fold_byte(symbol.ptr[i], naming->fold);
    return (beast_slice){room, symbol.len};
}
