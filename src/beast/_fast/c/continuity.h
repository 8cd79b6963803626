/* Whether what an exchange numbers without a gap came without one. Main thread only. */
#ifndef BEAST_CONTINUITY_H
#define BEAST_CONTINUITY_H

#include <stdbool.h>
#include <stdint.h>

#define BEAST_GAPS_MAX 64           /* kept until somebody takes them; what is more is not */
#define BEAST_GAP_LINK UINT32_MAX   /* stands for an instrument: the connection's own numbers */

typedef struct beast_gap {
    uint64_t first, last;    /* the numbers that are missing */
    int64_t from_ns, to_ns;  /* CLOCK_MONOTONIC, when the numbers around them were received */
    uint32_t instrument;
} beast_gap;

typedef struct beast_gaps {
    uint32_t count;
    beast_gap gap[BEAST_GAPS_MAX];
} beast_gaps;

/* How far a numbering has come; zeroed: nothing was seen of it. */
typedef struct beast_numbering {
    uint64_t last;
    int64_t at_ns;
    bool known;
} beast_numbering;

/* The numbers first..last were received; what is missing before them is a gap; true: there is one. A connection's numbers begin anew with
 * each connection, so lower ones start it over. A symbol's trades may be told again by a snapshot, which changes nothing. */
bool beast_follow(beast_numbering *numbering, uint64_t first, uint64_t last, int64_t now_ns, uint32_t instrument,
                  beast_gaps *gaps);

#endif
