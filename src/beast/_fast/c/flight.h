/* What one system call is about to send, and the usage records that go along, in memory that outlives the process.
 *
 * A killed thread leaves a system call only when it is done, and sendmmsg writes to each message how much of it it has
 * taken, right after taking it. Where the messages lie in a file, whoever looks after a crash so learns from the kernel
 * itself which answers have left: no instant of the process's death makes a difference. */
#ifndef BEAST_FLIGHT_H
#define BEAST_FLIGHT_H

#include <stdint.h>
#include <sys/socket.h>

#include "sizes.h"

#define BEAST_FLIGHT_SPARE BEAST_BATCH /* the message that is made for one system call alone */
#define BEAST_FLIGHT_ENDS 256          /* answers in one piece of a stream */

typedef struct beast_flight {
    struct mmsghdr message[BEAST_BATCH + 1];
    uint64_t recorded[BEAST_BATCH + 1]; /* by message: which of its datagrams end an answer that has a usage record */
    uint32_t end[BEAST_FLIGHT_ENDS];    /* of a stream: where each answer that has one ends in the spare message */
} beast_flight;

/* One word names what is in flight; 0: nothing. */
typedef uint64_t beast_flight_word;

/* Messages `first` to `count`, or the answers of a stream whose ends are as many. */
static inline beast_flight_word beast_flight_messages(uint32_t first, uint32_t count)
{
    return UINT64_C(1) << 32 | (uint64_t)first << 16 | count;
}

static inline beast_flight_word beast_flight_stream(uint32_t ends)
{
    return UINT64_C(2) << 32 | ends;
}

/* How many of the usage records in flight the kernel has taken along; of words and memory that may be anything. */
uint32_t beast_flight_taken(const beast_flight *flight, beast_flight_word word);

#endif
