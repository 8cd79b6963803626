/* Folding a name's case, eight letters at a time. */
#ifndef BEAST_NAME_FOLD_H
#define BEAST_NAME_FOLD_H

#include <string.h>

#include "request.h"

#define BEAST_BYTES(b) (UINT64_C(0x0101010101010101) * (b))

/* Flips the case of every byte from `first` to first + 25: 'a' raises, 'A' lowers. */
static inline uint64_t beast_flip_case(uint64_t word, uint8_t first)
{
    uint64_t low = word & BEAST_BYTES(0x7F);
    uint64_t from_first = low + BEAST_BYTES(0x80u - first), beyond_last = low + BEAST_BYTES(0x80u - 26u - first);
    uint64_t letters = (from_first ^ beyond_last) & ~word & BEAST_BYTES(0x80);
    return word ^ letters >> 2; /* 0x80 >> 2 is the bit that tells the cases apart */
}

/* beast_name_fold of ASCII text that has at least eight readable bytes before it. */
static inline void beast_name_fold_ascii(beast_name *name, const uint8_t *text, uint32_t len, bool upper)
{
    if (len - 1 >= 8) {
        beast_name_fold(name, text, len, upper);
        return;
    }
    uint64_t word, first = upper ? 'a' : 'A';
    memcpy(&word, text + len - 8, sizeof word);
    word >>= 64 - 8 * len;
    uint64_t from_first = word + BEAST_BYTES(0x80u - first), beyond_last = word + BEAST_BYTES(0x80u - 26u - first);
    name->len = len;
    name->word[0] = word ^ ((from_first ^ beyond_last) & BEAST_BYTES(0x80)) >> 2;
    name->word[1] = name->word[2] = 0;
}

#endif
