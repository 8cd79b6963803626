/* The kernel's clocks, in ns. */
#ifndef BEAST_CLOCK_H
#define BEAST_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t beast_clock_ns(clockid_t which)
{
    struct timespec at;

    clock_gettime(which, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

#endif
