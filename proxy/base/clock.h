/* The time that passes. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of that clock of clock_gettime(2), all of which exist on Linux. */
static inline uint64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Milliseconds of CLOCK_MONOTONIC: for deadlines, and how long something takes. */
static inline uint64_t clock_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

#endif
