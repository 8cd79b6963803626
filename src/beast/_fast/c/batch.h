/* A batch of UDP requests on its way from datagrams to answers: what one UDP thread works in, and, for one request
 * at a time, the main thread. */
#ifndef BEAST_BATCH_H
#define BEAST_BATCH_H

#include "answer.h"
#include "udp_io.h"

#define BEAST_SCRATCH (BEAST_DATAGRAM_MAX + 48) /* of a request; whole cache lines */

/* What a batch adds to the counters, once. */
typedef struct beast_tally {
    uint64_t received, plain, answered, refused, ignored, parked, resumed; /* plain: answered the short way */
    uint64_t sent, unsent, kernel_drops, source_limited, source_dry_run, miss_overflows;
} beast_tally;

typedef struct beast_batch {
    beast_lane *lane;
    int fd;
    uint32_t fd_lane; /* whose socket `fd` is */
    int64_t spin_ns;       /* how long to look for a next datagram before sleeping; 0: not at all */
    uint32_t sample_every; /* of so many receives one is timed; 0: none */
    beast_tally tally;
    beast_datagram datagram[BEAST_BATCH];
    beast_lookup lookup[BEAST_BATCH];
    beast_source_total unproven; /* answers to all who proved no key */
    int64_t benefit_ns; /* theoretical arrival time of the next unknown key that is hashed in spite of its source */
    beast_request request[BEAST_BATCH];
    uint8_t scratch[BEAST_BATCH][BEAST_SCRATCH];
    uint8_t body[BEAST_BODY_MAX]; /* of several assets, before it is cut into parts */
    beast_outgoing out;
    beast_incoming in;
} beast_batch;

/* `fd` is -1 where nothing is sent; `merges`: answers may leave merged. NULL without memory. */
beast_batch *beast_batch_new(beast_lane *lane, int fd, bool merges);
void beast_batch_free(beast_batch *batch);

/* From what `in` holds to answers in `out`, which are sent when it is full. `admitted` as in beast_answer_body. */
void beast_batch_serve(beast_batch *batch, beast_key *admitted, const beast_moment *moment);
void beast_batch_send(beast_batch *batch);
/* Wakes who has to, makes parked requests visible, and counts. */
void beast_batch_publish(beast_batch *batch);

#endif
