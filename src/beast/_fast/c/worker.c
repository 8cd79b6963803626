#include "worker.h"

#include <time.h>

static int64_t clock_ns(clockid_t which)
{
    struct timespec at;

    clock_gettime(which, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

beast_moment beast_moment_now(void)
{
    return (beast_moment){.now_ns = clock_ns(CLOCK_MONOTONIC), .wall_ns = clock_ns(CLOCK_REALTIME)};
}

void beast_udp_run(beast_batch *batch)
{
    beast_lane *lane = batch->lane;
    uint8_t order[BEAST_BATCH];

    for (;;) {
        /* Asked before receiving: an empty queue is the end only when nothing could join it any more. */
        bool draining = atomic_load_explicit(&lane->shared->draining, memory_order_acquire);
        uint32_t n = beast_udp_receive(batch->fd, &batch->in, &batch->tally.kernel_drops);
        if (n == 0 && draining)
            return;
        if (n == 0)
            continue;
        beast_moment moment = beast_moment_now();
        beast_reader_enter(&lane->reader);
        beast_batch_parse(batch, n);
        beast_group_by_peer(&batch->in, n, order);
        for (uint32_t i = 0; i < n; i++)
            beast_batch_answer(batch, order[i], NULL, &moment);
        beast_reader_leave(&lane->reader);
        beast_batch_send(batch);
        beast_batch_publish(batch);
    }
}
