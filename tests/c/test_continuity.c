#include "continuity.h"
#include "harness.h"

#include <stdint.h>

static void numbers_are_followed(void)
{
    beast_gaps gaps = {0};
    beast_numbering link = {0}, symbol = {0};
    CHECK(!beast_follow(&link, 5, 5, 10, BEAST_GAP_LINK, &gaps));
    CHECK(!beast_follow(&link, 6, 6, 11, BEAST_GAP_LINK, &gaps));
    CHECK(gaps.count == 0);
    CHECK(beast_follow(&link, UINT64_MAX, UINT64_MAX, 12, BEAST_GAP_LINK, &gaps));
    CHECK(gaps.count == 1 && gaps.gap[0].first == 7 && gaps.gap[0].last == UINT64_MAX - 1);
    CHECK(gaps.gap[0].from_ns == 11 && gaps.gap[0].to_ns == 12);
    beast_follow(&link, 0, 0, 13, BEAST_GAP_LINK, &gaps);
    CHECK(gaps.count == 1 && link.last == 0);
    beast_follow(&symbol, 10, 20, 1, 3, &gaps);
    beast_follow(&symbol, 5, 15, 2, 3, &gaps);
    CHECK(gaps.count == 1 && symbol.last == 20);
    beast_follow(&symbol, 15, 30, 3, 3, &gaps);
    CHECK(gaps.count == 1 && symbol.last == 30);
    beast_follow(&symbol, 32, 32, 4, 3, &gaps);
    CHECK(gaps.count == 2 && gaps.gap[1].first == 31 && gaps.gap[1].last == 31 && gaps.gap[1].instrument == 3);
    for (uint64_t i = 0; i < 1000; i++)
        beast_follow(&symbol, 100 + 2 * i, 100 + 2 * i, 5, 3, &gaps);
    CHECK(gaps.count == BEAST_GAPS_MAX);
}

int main(void)
{
    RUN(numbers_are_followed);
    return harness_report();
}
