#include "extract_trade.h"

#include <string.h>

#include "extract_scan.h"

void beast_trades_clear(beast_trades *trades)
{
    trades->elements = trades->count = trades->bad_prices = trades->nameless = trades->overflow = 0;
}

/* Copies a trade; slices into the old one's own memory point into the new one's. */
static void copy_trade(beast_trade *to, const beast_trade *from)
{
    *to = *from;
    if (from->symbol.ptr == from->symbol_text)
        to->symbol.ptr = to->symbol_text;
    if (from->price.ptr == from->price_text)
        to->price.ptr = to->price_text;
}

/* Gives both trades of a symbol the numbers of both. */
static void join_sequences(beast_trade *held, beast_trade *trade)
{
    if (!held->sequenced || (trade->sequenced && trade->sequence_first < held->sequence_first))
        held->sequence_first = trade->sequence_first;
    if (trade->sequence > held->sequence)
        held->sequence = trade->sequence;
    held->sequenced += trade->sequenced;
    trade->sequence_first = held->sequence_first;
    trade->sequence = held->sequence;
    trade->sequenced = held->sequenced;
}

/* Puts the trade just behind the list into it: as a new symbol's, or in the place of an older one. */
static void place_trade(beast_trades *trades, const beast_shape *shape)
{
    beast_trade *trade = &trades->trade[trades->count];
    for (uint32_t i = 0; i < trades->count; i++) {
        beast_trade *held = &trades->trade[i];
        if (held->symbol.len != trade->symbol.len ||
            !beast_same_bytes(held->symbol.ptr, trade->symbol.ptr, held->symbol.len))
            continue;
        uint32_t apart = 0; /* the outermost array in which the two stand apart says which one is newer */
        while (apart < BEAST_WALKS_MAX && held->at[apart] == trade->at[apart])
            apart++;
        join_sequences(held, trade);
        if (apart < BEAST_WALKS_MAX && shape->last[apart])
            copy_trade(held, trade);
        return;
    }
    if (trades->count < BEAST_TRADES_MAX)
        trades->count++;
    else
        trades->overflow++;
}

static void read_number(beast_trade *trade, const beast_value *value)
{
    trade->number = *value;
    if (!value->ptr || !beast_value_sequence(value, &trade->sequence))
        trade->sequence = 0;
    trade->sequence_first = trade->sequence;
    trade->sequenced = trade->sequence != 0;
}

static bool is_name(const beast_shape *shape, const beast_value *symbol)
{
    bool digits = symbol->kind == BEAST_TOKEN_BARE && symbol->ptr && *symbol->ptr <= '9'; /* no true, no false */
    return symbol->kind == BEAST_TOKEN_STRING || (shape->bare_symbol && digits);
}

void beast_trades_take(beast_trades *trades, const beast_shape *shape, const beast_value values[BEAST_ROLES],
                       const uint32_t at[BEAST_WALKS_MAX])
{
    beast_trade *trade = &trades->trade[trades->count];
    const beast_value *symbol = &values[BEAST_ROLE_SYMBOL];
    trades->elements++;
    if (!is_name(shape, symbol) || !beast_value_text(symbol, trade->symbol_text, &trade->symbol)) {
        trades->nameless++;
    } else if (!beast_value_price(&values[BEAST_ROLE_PRICE], shape->scale, trade->price_text, &trade->price)) {
        trades->bad_prices++;
    } else {
        trade->time = values[BEAST_ROLE_TIME];
        trade->fallback = values[BEAST_ROLE_FALLBACK];
        read_number(trade, &values[BEAST_ROLE_SEQUENCE]);
        memcpy(trade->at, at, sizeof trade->at);
        place_trade(trades, shape);
    }
}

void beast_trades_date(beast_trades *trades, const beast_shape *shape)
{
    for (uint32_t i = 0; i < trades->count; i++) {
        beast_trade *trade = &trades->trade[i];
        trade->time_ns = beast_value_time(&trade->time, shape->format[BEAST_ROLE_TIME]);
        if (trade->time_ns == 0)
            trade->time_ns = beast_value_time(&trade->fallback, shape->format[BEAST_ROLE_FALLBACK]);
    }
}
