#include "believe.h"

#include <math.h>

static inline void sort2(double *low, double *high)
{
    double a = *low, b = *high;
    *low = a < b ? a : b;
    *high = a < b ? b : a;
}

/* The six exchanges that find the middle of five; Devillard, "Fast median search", 1998. */
static inline double median5(const double price[BEAST_RECENT])
{
    double a = price[0], b = price[1], c = price[2], d = price[3], e = price[4];
    sort2(&a, &b);
    sort2(&d, &e);
    sort2(&a, &d);
    sort2(&b, &e);
    sort2(&b, &c);
    sort2(&c, &d);
    return b > c ? b : c;
}

bool beast_is_usual(const beast_belief *belief, double price, double band)
{
    return belief->known && beast_is_near(price, median5(belief->recent), band);
}

static void begin_anew(beast_belief *belief, double price)
{
    for (int i = 0; i < BEAST_RECENT; i++)
        belief->recent[i] = price;
    belief->known = true;
    belief->waiting = 0;
}

static void go_on(beast_belief *belief, double price)
{
    belief->recent[belief->oldest] = price;
    belief->oldest = belief->oldest + 1 < BEAST_RECENT ? (uint8_t)(belief->oldest + 1) : 0;
    belief->waiting = 0;
}

beast_verdict beast_believe(beast_belief *belief, double price, bool usual, double others, double band,
                            uint32_t confirmations, bool another)
{
    beast_verdict verdict = {.believed = true};
    if (usual && belief->known) {
        verdict.dropped = belief->waiting;
        go_on(belief, price);
        return verdict;
    }
    bool agreed = usual || (isnan(others) ? !belief->known : beast_is_near(price, others, band));
    bool fits = belief->waiting && beast_is_near(price, belief->held, band);
    verdict.believed = agreed || (fits && another && belief->waiting >= confirmations);
    if (verdict.believed) {
        *(fits ? &verdict.confirmed : &verdict.dropped) = belief->waiting;
        begin_anew(belief, price);
    } else if (fits) {
        verdict.again = !another;
        belief->waiting = (uint8_t)(belief->waiting + another);
    } else {
        verdict.dropped = belief->waiting;
        belief->held = price;
        belief->waiting = 1;
    }
    return verdict;
}

uint8_t beast_release(beast_belief *belief, double price, double others, double band)
{
    uint8_t waited = belief->waiting;
    if (isnan(others) || !beast_is_near(price, others, band))
        return 0;
    begin_anew(belief, price);
    return waited;
}
