/* The loops that worker threads enter once and leave at stop. */
#ifndef BEAST_WORKER_H
#define BEAST_WORKER_H

#include "batch.h"

beast_moment beast_moment_now(void);

/* Answers datagrams until lane->shared->draining and nothing is queued any more. */
void beast_udp_run(beast_batch *batch);

#endif
