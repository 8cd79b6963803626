/* Which of two trades of one symbol is the newer one, when frames come twice and late and clocks are wrong. Main thread only.
 *
 * The exchange's own number of a trade decides where it has one, and its own time else. A time later than the clock that
 * received it counts as that clock's: one trade dated into the future can't shut out those that follow. Nor can a clock of
 * ours that was set back: a trade that is newer by its own time wins then, too, and so does one without a time. */
#ifndef BEAST_TRADE_ORDER_H
#define BEAST_TRADE_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "extract.h"

/* A frame that comes twice or overtaken does so within this; a lower number after that is of a numbering begun anew. */
#define BEAST_LATE_NS INT64_C(60000000000)
/* A clock that is ahead by less than this is taken to be so for all trades, not for one. */
#define BEAST_AHEAD_NS INT64_C(5000000000)

typedef enum beast_numbers {
    BEAST_NUMBERS_NONE,
    BEAST_NUMBERS_OF_TRADES, /* of this symbol */
    BEAST_NUMBERS_OF_FRAMES, /* of one connection, which may repeat old trades in a late frame */
} beast_numbers;

typedef struct beast_rank {
    uint64_t number;
    beast_numbers numbers;
    bool dated;          /* the exchange has told a time */
    int64_t time_ns;     /* by the exchange's clock; of a trade that isn't dated by ours */
    int64_t order_ns;    /* this, or CLOCK_REALTIME when it came, whichever is earlier */
    int64_t received_ns; /* CLOCK_MONOTONIC */
} beast_rank;

/* Of a trade in a frame that was just read. */
beast_rank beast_rank_of(const beast_extraction *frame, const beast_trade *trade, int64_t received_ns, int64_t wall_ns);
typedef enum beast_order {
    BEAST_NEWER,
    BEAST_OLDER,
    BEAST_OLDER_BY_CLOCK, /* or the clock was set back, and it is newer */
} beast_order;

/* Numbers of frames are comparable when both came over one connection. */
beast_order beast_compare(const beast_rank *come, const beast_rank *held);

/* Whether that trade, which is no older, can be no other than a new one: of the same moment it may be one of several that
 * are told again. */
static inline bool beast_is_another(const beast_rank *come, const beast_rank *held)
{
    return !come->dated || come->time_ns > held->time_ns ||
           (come->numbers == BEAST_NUMBERS_OF_TRADES && held->numbers == come->numbers && come->number > held->number);
}

/* Dated so far ahead by a clock that nothing but it speaks for: when that is set right, trades told before may come again
 * as the newest. */
static inline bool beast_is_ahead(const beast_rank *rank)
{
    return rank->numbers == BEAST_NUMBERS_NONE && rank->time_ns - rank->order_ns > BEAST_AHEAD_NS;
}

#endif
