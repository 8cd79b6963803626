/* Is a price believable? Told from the prices believed before it and from what the other exchanges say: a price
 * beyond the band of both waits until it is confirmed. Knows no clock and no table. */
#ifndef BEAST_BELIEVE_H
#define BEAST_BELIEVE_H

#include <stdbool.h>
#include <stdint.h>

#define BEAST_RECENT 5

/* What is remembered of one instrument; zeroed before its first price. */
typedef struct beast_belief {
    double recent[BEAST_RECENT]; /* believed last; a price that began anew stands in all places */
    double held;                 /* the first of those that wait */
    uint8_t oldest;              /* its place in `recent` */
    uint8_t waiting;             /* trades that wait to be confirmed: `held` and those that agreed with it */
    bool known;                  /* any price was believed */
} beast_belief;

/* What became of a trade and of those that waited before it. */
typedef struct beast_verdict {
    bool believed;      /* else it waits */
    bool again;         /* unless it may wait already: it changes nothing then */
    uint8_t confirmed;  /* of those that waited */
    uint8_t dropped;
} beast_verdict;

/* `band` is a ratio: 0.1 allows a tenth up, and as many times down. It lies above 0, and so do prices. */
static inline bool beast_is_near(double price, double other, double band)
{
    return price <= other * (1 + band) && other <= price * (1 + band);
}

/* Within the band of the median of the prices believed last. */
bool beast_is_usual(const beast_belief *belief, double price, double band);

/* The next trade. `usual` is beast_is_usual's answer, or true where nothing shall be held; `others` the median of the
 * other exchanges, NaN where there is none, and not looked at when it is usual. What waits is confirmed when
 * `confirmations` further trades agreed with it: those that are `another` for certain, and not one of them told again. */
beast_verdict beast_believe(beast_belief *belief, double price, bool usual, double others, double band,
                            uint32_t confirmations, bool another);

/* The others have moved: does that confirm what waits, of which `price` came last? Returns how many trades waited, or
 * 0: they still do. */
uint8_t beast_release(beast_belief *belief, double price, double others, double band);

#endif
