#include "http_scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Sixteen characters a line, from 0x00; nothing beyond ASCII is in any class. */
const uint8_t beast_http_classes[256] = {
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0,
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0,
    0x0, 0xB, 0x8, 0x9, 0xB, 0x9, 0x9, 0xB, 0xA, 0xA, 0xB, 0x9, 0xA, 0xF, 0xF, 0xA,
    0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xE, 0x8, 0x8, 0xA, 0x8, 0xA,
    0xA, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF,
    0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xC, 0x8, 0xC, 0x9, 0xF,
    0x9, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF,
    0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0xF, 0x8, 0x9, 0x8, 0xB, 0x0,
};

/* The first byte from `p` on that no field value may hold. */
static const uint8_t *value_end(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
    const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7F);
    for (; end - p >= 16; p += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Signed: bytes beyond ASCII are less than a space, too. */
        __m128i low = _mm_andnot_si128(_mm_cmpeq_epi8(block, tab), _mm_cmplt_epi8(block, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(block, del)));
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && (*p == ' ' || *p == '\t' || beast_http_is(*p, BEAST_HTTP_VISIBLE)))
        p++;
    return p;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

beast_http_verdict beast_http_take_field(beast_http_cursor *in, beast_slice *name, beast_slice *value)
{
    const uint8_t *colon = in->at, *first, *stop;
    while (colon < in->end && beast_http_is(*colon, BEAST_HTTP_TOKEN))
        colon++;
    if (colon == in->end)
        return BEAST_HTTP_MORE;
    if (*colon != ':' || colon == in->at)
        return BEAST_HTTP_OTHER;
    *name = (beast_slice){in->at, (uint32_t)(colon - in->at)};
    first = colon + 1;
    stop = value_end(first, in->end);
    in->at = stop;
    beast_http_verdict verdict = beast_http_take(in, "\r\n");
    if (verdict != BEAST_HTTP_HOT)
        return verdict;
    while (first < stop && is_blank(*first))
        first++;
    while (first < stop && is_blank(stop[-1]))
        stop--;
    *value = (beast_slice){first, (uint32_t)(stop - first)};
    return BEAST_HTTP_HOT;
}
