#include "trade_order.h"

beast_rank beast_rank_of(const beast_extraction *frame, const beast_trade *trade, int64_t received_ns, int64_t wall_ns)
{
    beast_rank rank = {.dated = trade->time_ns != 0, .received_ns = received_ns};
    rank.time_ns = rank.dated ? trade->time_ns : wall_ns;
    rank.order_ns = rank.time_ns < wall_ns ? rank.time_ns : wall_ns;
    if (trade->sequenced) {
        rank.numbers = BEAST_NUMBERS_OF_TRADES;
        rank.number = trade->sequence;
    } else if (frame->sequenced) {
        rank.numbers = BEAST_NUMBERS_OF_FRAMES;
        rank.number = frame->sequence;
    }
    return rank;
}

static bool is_older_by_time(const beast_rank *come, const beast_rank *held)
{
    if (!come->dated || come->time_ns >= held->time_ns)
        return false;
    if (come->order_ns < held->order_ns)
        return true;
    /* Only a clock that is ahead brings both about. It is the exchange's, for all of its trades, when it is so for this
     * one, too, or by little; else the one held was dated into the future by itself. */
    return come->time_ns > come->order_ns || held->time_ns - held->order_ns <= BEAST_AHEAD_NS;
}

beast_order beast_compare(const beast_rank *come, const beast_rank *held)
{
    if (come->numbers != BEAST_NUMBERS_NONE && come->numbers == held->numbers) {
        if (come->number < held->number && come->received_ns - held->received_ns <= BEAST_LATE_NS)
            return BEAST_OLDER;
        if (come->number > held->number && come->numbers == BEAST_NUMBERS_OF_TRADES)
            return BEAST_NEWER;
    }
    return is_older_by_time(come, held) ? BEAST_OLDER_BY_CLOCK : BEAST_NEWER;
}
