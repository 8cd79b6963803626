/* A batch of UDP requests on its way from datagrams to answers: what one UDP thread works in, and, for one request
 * at a time, the main thread. */
#ifndef BEAST_BATCH_H
#define BEAST_BATCH_H

#include "answer.h"
#include "udp_io.h"

/* What a batch adds to the counters, once. */
typedef struct beast_tally {
    uint64_t received, answered, refused, ignored, parked, resumed;
    uint64_t sent, unsent, kernel_drops, source_limited, miss_overflows;
} beast_tally;

typedef struct beast_batch {
    beast_lane *lane;
    int fd;
    uint32_t fd_lane; /* whose socket `fd` is */
    beast_tally tally;
    beast_incoming in;
    beast_outgoing out;
    beast_lookup lookup[BEAST_BATCH];
    beast_request request[BEAST_BATCH];
    uint8_t scratch[BEAST_BATCH][BEAST_RECEIVE_SIZE];
    uint8_t body[BEAST_BODY_MAX]; /* of several assets, before it is cut into parts */
} beast_batch;

/* `fd` is -1 where nothing is sent. NULL without memory. */
beast_batch *beast_batch_new(beast_lane *lane, int fd);
void beast_batch_free(beast_batch *batch);

/* Puts one datagram where a receive would have; longer ones are cut as the kernel cuts them. */
void beast_batch_put(beast_batch *batch, const uint8_t *datagram, size_t len, const struct sockaddr *peer);

/* The stages, in this order. Parse and answer stand between beast_reader_enter and beast_reader_leave. */
void beast_batch_parse(beast_batch *batch, uint32_t n);
void beast_batch_answer(beast_batch *batch, uint32_t i, beast_key *admitted, const beast_moment *moment);
void beast_batch_send(beast_batch *batch);
/* Makes usage records and parked requests visible, and counts. */
void beast_batch_publish(beast_batch *batch);

#endif
