/* The header lines by which HTTP tells of a key's limits, and of a refusal how to go on (docs/protocol.md, section 7). */
#ifndef BEAST_LIMIT_TEXT_H
#define BEAST_LIMIT_TEXT_H

#include "answer.h"

#define BEAST_LIMIT_LINES_MAX 480

/* The calendar month of UTC that a moment lies in, in seconds since 1970. */
typedef struct beast_month {
    int64_t begin, end;
} beast_month;

beast_month beast_month_of(int64_t second);

/* The lines, each with its line end, that come with `reply`; returns their length. A price for a key that nothing limits
 * brings none. `out` has room for BEAST_LIMIT_LINES_MAX. */
uint32_t beast_limit_lines(const beast_shared *shared, const beast_reply *reply, const beast_moment *moment,
                           const beast_month *month, uint8_t *out);

#endif
