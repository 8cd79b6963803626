/* Folding a name's case, eight letters at a time. */
#ifndef BEAST_NAME_FOLD_H
#define BEAST_NAME_FOLD_H

#include <string.h>

#include "request.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BEAST_BYTES(b) (UINT64_C(0x0101010101010101) * (b))

/* Flips the case of every byte from `first` to first + 25: 'a' raises, 'A' lowers. */
static inline uint64_t beast_flip_case(uint64_t word, uint8_t first)
{
    uint64_t low = word & BEAST_BYTES(0x7F);
    uint64_t from_first = low + BEAST_BYTES(0x80u - first), beyond_last = low + BEAST_BYTES(0x80u - 26u - first);
    uint64_t letters = (from_first ^ beyond_last) & ~word & BEAST_BYTES(0x80);
    return word ^ letters >> 2; /* 0x80 >> 2 is the bit that tells the cases apart */
}

/* beast_flip_case of eight bytes in memory. */
static inline uint64_t beast_flip_bytes(const uint8_t *bytes, uint8_t first)
{
#if defined(__SSE2__)
    /* Moved so that the last of the letters is the greatest signed byte: what is beyond it wraps round. */
    __m128i word = _mm_loadl_epi64((const __m128i *)(const void *)bytes);
    __m128i moved = _mm_add_epi8(word, _mm_set1_epi8((char)(0x7F - 25 - first)));
    __m128i letters = _mm_cmpgt_epi8(moved, _mm_set1_epi8(0x7F - 26));
    return (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(word, _mm_and_si128(letters, _mm_set1_epi8(0x20))));
#else
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return beast_flip_case(word, first);
#endif
}

/* beast_name_fold of text that has at least eight readable bytes before its end. */
static inline void beast_name_fold_within(beast_name *name, const uint8_t *text, uint32_t len, bool upper)
{
    if (__builtin_expect(len - 1 >= 8, 0)) {
        beast_name_fold(name, text, len, upper);
        return;
    }
    name->len = len;
    name->word[0] = beast_flip_bytes(text + len - 8, upper ? 'a' : 'A') >> (-8 * len & 63);
    name->word[1] = name->word[2] = 0;
}

#endif
