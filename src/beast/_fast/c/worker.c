#include "worker.h"

#include "clock.h"

beast_moment beast_moment_now(void)
{
    return (beast_moment){.now_ns = beast_clock_ns(CLOCK_MONOTONIC), .wall_ns = beast_clock_ns(CLOCK_REALTIME)};
}

/* Waking a sleeping processor takes tens of microseconds. Worth looking for a next datagram is only while they come
 * in shorter intervals than that: after a longer wait the next one begins asleep. */
static uint32_t receive(beast_batch *batch, bool *busy)
{
    int64_t begin = batch->spin_ns ? beast_clock_ns(CLOCK_MONOTONIC) : 0;
    uint32_t n = 0;

    while (*busy && n == 0 && beast_clock_ns(CLOCK_MONOTONIC) - begin < batch->spin_ns)
        n = beast_udp_receive(batch->fd, &batch->in, MSG_DONTWAIT, &batch->tally.kernel_drops);
    if (n == 0)
        n = beast_udp_receive(batch->fd, &batch->in, 0, &batch->tally.kernel_drops);
    *busy = batch->spin_ns && beast_clock_ns(CLOCK_MONOTONIC) - begin < batch->spin_ns;
    return n;
}

/* From the kernel's stamp on each message to now, when the answers are sent. */
static void record_latency(beast_batch *batch, uint32_t n)
{
    int64_t now_ns = beast_clock_ns(CLOCK_REALTIME);

    for (uint32_t i = 0; i < n; i++)
        if (batch->in.stamp_ns[i])
            beast_histogram_add(&batch->lane->latency, now_ns - batch->in.stamp_ns[i]);
}

/* True for every sample_every-th receive: its messages bring their stamps, those of others need not. */
static bool begin_sample(const beast_batch *batch, uint32_t *receives)
{
    if (batch->sample_every == 0 || ++*receives < batch->sample_every)
        return false;
    *receives = 0;
    beast_udp_stamp(batch->fd, true);
    return true;
}

void beast_udp_run(beast_batch *batch)
{
    uint32_t receives = 0;
    bool busy = false;

    for (;;) {
        /* Asked before receiving: an empty queue is the end only when nothing could join it any more. */
        bool draining = atomic_load_explicit(&batch->lane->shared->draining, memory_order_acquire);
        bool sampled = begin_sample(batch, &receives);
        uint32_t n = receive(batch, &busy);
        if (sampled)
            beast_udp_stamp(batch->fd, false);
        if (n == 0 && draining)
            return;
        if (n == 0)
            continue;
        beast_moment moment = beast_moment_now();
        beast_batch_serve(batch, NULL, &moment);
        beast_batch_send(batch);
        beast_batch_publish(batch);
        if (sampled)
            record_latency(batch, n);
        beast_lane_pace(batch->lane);
    }
}
