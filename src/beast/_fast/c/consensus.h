/* What several exchanges agree on: the weighted median of their live prices. Knows no table.
 *
 * The median of all live votes is the answer, always one source's own price: as long as the honest ones have more than
 * half of the weight it lies between two honest prices, wherever the others are. Who is too far off it is no source
 * of it: the furthest one is left out while it is further than OUTLIER_MADS mean deviations of those that stay (and
 * than `outlier`, as a ratio), but never so many that half of the weight is gone. */
#ifndef BEAST_CONSENSUS_H
#define BEAST_CONSENSUS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum beast_standing {
    BEAST_STANDING_LIVE, /* used, unless it becomes an outlier */
    BEAST_STANDING_QUIET,
    BEAST_STANDING_STALE,
    BEAST_STANDING_HELD,
    BEAST_STANDING_OUTLIER,
} beast_standing;

typedef struct beast_vote {
    double price;
    uint32_t weight; /* above 0 */
    beast_standing standing;
} beast_vote;

typedef struct beast_consensus {
    uint32_t chosen; /* the vote whose price is the answer; only if `used` is above 0 */
    uint32_t used;   /* votes left at LIVE */
    double spread;   /* between the highest and the lowest used one, as a ratio of the answer */
} beast_consensus;

#define BEAST_VOTES_MAX 64

/* Makes outliers of some of the live votes, of `n` at most BEAST_VOTES_MAX; prices that are not above 0 are such. */
beast_consensus beast_consensus_find(beast_vote *votes, uint32_t n, double outlier);

#endif
