/* Sends what waits, step by step, as a batch does, and adds up what became of it. */
#ifndef BEAST_UDP_FIXTURE_H
#define BEAST_UDP_FIXTURE_H

#include "harness.h"
#include "udp_io.h"

typedef struct sent_sum {
    uint32_t taken, taken_records, refused, refused_records;
} sent_sum;

static inline sent_sum send_all(int fd, beast_outgoing *out)
{
    sent_sum sum = {0};
    beast_send_step step;

    while (beast_outgoing_waits(out)) {
        uint32_t stake = beast_outgoing_stake(out);
        beast_send_result result = beast_udp_send_step(fd, out, &step);
        CHECK(step.records <= stake);
        if (result == BEAST_SEND_LATER) {
            CHECK_EQ(step.datagrams, 0);
            beast_udp_wait(fd);
        } else if (result == BEAST_SEND_TAKEN) {
            sum.taken += step.datagrams;
            sum.taken_records += step.records;
        } else {
            sum.refused += step.datagrams;
            sum.refused_records += step.records;
        }
    }
    CHECK_EQ(out->records, 0);
    beast_outgoing_clear(out);
    return sum;
}

#endif
