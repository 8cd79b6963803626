/* Sends what waits, step by step, as a batch does, and adds up what became of it. */
#ifndef BEAST_UDP_FIXTURE_H
#define BEAST_UDP_FIXTURE_H

#include "harness.h"
#include "udp_io.h"

static beast_flight flight;

typedef struct sent_sum {
    uint32_t taken, taken_records, refused, refused_records;
} sent_sum;

static inline sent_sum send_all(int fd, beast_outgoing *out)
{
    sent_sum sum = {0};
    beast_send_step step;

    while (beast_outgoing_waits(out)) {
        beast_flight_word word = beast_outgoing_ready(out);
        CHECK_EQ(beast_flight_taken(&flight, word), 0);
        beast_send_result result = beast_udp_send_step(fd, out, &step);
        CHECK_EQ(beast_flight_taken(&flight, word), result == BEAST_SEND_TAKEN ? step.records : 0);
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
