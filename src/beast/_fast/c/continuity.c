#include "continuity.h"

static void add(beast_gaps *gaps, const beast_gap *gap)
{
    if (gaps->count < BEAST_GAPS_MAX)
        gaps->gap[gaps->count++] = *gap;
}

bool beast_follow(beast_numbering *numbering, uint64_t first, uint64_t last, int64_t now_ns, uint32_t instrument,
                  beast_gaps *gaps)
{
    bool gapped = numbering->known && first > numbering->last && first - numbering->last > 1;
    if (gapped) {
        const beast_gap gap = {numbering->last + 1, first - 1, numbering->at_ns, now_ns, instrument};
        add(gaps, &gap);
    }
    if (numbering->known && last < numbering->last && instrument != BEAST_GAP_LINK)
        return gapped;
    numbering->known = true;
    numbering->last = last;
    numbering->at_ns = now_ns;
    return gapped;
}
