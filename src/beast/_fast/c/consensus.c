#include "consensus.h"

#include <math.h>

/* Beyond three standard deviations, of which 1.4826 times the median absolute deviation is the robust estimate: Leys et
 * al., "Detecting outliers", J. Exp. Soc. Psychol. 49 (2013). */
#define OUTLIER_MADS (3 * 1.4826)

/* A live vote and what it is ordered by. */
typedef struct ranked {
    double key;
    uint32_t vote;
    uint32_t weight;
} ranked;

/* Inserts in order of key, behind equal ones. */
static void insert(ranked *row, uint32_t n, ranked each)
{
    for (; n > 0 && row[n - 1].key > each.key; n--)
        row[n] = row[n - 1];
    row[n] = each;
}

/* The first at which half of the weight is reached: the lower weighted median. */
static const ranked *median(const ranked *row, uint64_t total)
{
    for (uint64_t sum = row->weight; 2 * sum < total; sum += row->weight)
        row++;
    return row;
}

/* How many of the `n` nearest remain. */
static uint32_t reject(const ranked *by_distance, uint32_t n, uint64_t total, double least)
{
    uint64_t left = total;
    for (; n > 1; n--) {
        const ranked *furthest = &by_distance[n - 1];
        double limit = OUTLIER_MADS * median(by_distance, left)->key;
        if (furthest->key <= (limit > least ? limit : least) || 2 * (left - furthest->weight) <= total)
            break;
        left -= furthest->weight;
    }
    return n;
}

beast_consensus beast_consensus_find(beast_vote *votes, uint32_t n, double outlier)
{
    ranked by_price[BEAST_VOTES_MAX], by_distance[BEAST_VOTES_MAX];
    beast_consensus found = {0};
    uint64_t total = 0;
    uint32_t live = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (votes[i].standing != BEAST_STANDING_LIVE)
            continue;
        if (!(votes[i].price > 0)) {
            votes[i].standing = BEAST_STANDING_OUTLIER;
            continue;
        }
        total += votes[i].weight;
        insert(by_price, live++, (ranked){votes[i].price, i, votes[i].weight});
    }
    if (live == 0)
        return found;
    const ranked *middle = median(by_price, total);
    for (uint32_t i = 0; i < live; i++)
        insert(by_distance, i, (ranked){fabs(by_price[i].key - middle->key), by_price[i].vote, by_price[i].weight});
    found.chosen = middle->vote;
    found.used = reject(by_distance, live, total, outlier * middle->key);

    double low = middle->key, high = middle->key;
    for (uint32_t i = 0; i < live; i++) {
        beast_vote *vote = &votes[by_distance[i].vote];
        if (i >= found.used)
            vote->standing = BEAST_STANDING_OUTLIER;
        else if (vote->price < low)
            low = vote->price;
        else if (vote->price > high)
            high = vote->price;
    }
    found.spread = (high - low) / middle->key;
    return found;
}
