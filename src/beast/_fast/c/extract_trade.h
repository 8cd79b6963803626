/* The trades of one frame, as they are found: the newest of each symbol stays. */
#ifndef BEAST_EXTRACT_TRADE_H
#define BEAST_EXTRACT_TRADE_H

#include "extract_plan.h"

void beast_trades_clear(beast_trades *trades);

/* Takes the trade that the roles' values make, which stood at `at` in the walked arrays, or counts why it is none. */
void beast_trades_take(beast_trades *trades, const beast_shape *shape, const beast_value values[BEAST_ROLES],
                       const uint32_t at[BEAST_WALKS_MAX]);

/* Reads the times of those that stayed. */
void beast_trades_date(beast_trades *trades, const beast_shape *shape);

#endif
