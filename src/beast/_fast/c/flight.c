#include "flight.h"

static uint32_t taken_of_messages(const beast_flight *flight, uint32_t first, uint32_t count)
{
    uint32_t n = 0;

    /* The kernel stops at the first that it can't take. */
    for (uint32_t i = first; i < count && i <= BEAST_FLIGHT_SPARE && flight->message[i].msg_len != 0; i++)
        n += (uint32_t)__builtin_popcountll(flight->recorded[i]);
    return n;
}

static uint32_t taken_of_stream(const beast_flight *flight, uint32_t ends)
{
    uint32_t n = 0;

    while (n < ends && n < BEAST_FLIGHT_ENDS && flight->end[n] <= flight->message[BEAST_FLIGHT_SPARE].msg_len)
        n++;
    return n;
}

uint32_t beast_flight_taken(const beast_flight *flight, beast_flight_word word)
{
    uint32_t first = (uint32_t)(word >> 16 & UINT16_MAX), count = (uint32_t)(word & UINT16_MAX);

    switch (word >> 32) {
    case 1:
        return taken_of_messages(flight, first, count);
    case 2:
        return taken_of_stream(flight, count);
    default:
        return 0;
    }
}
