/* Long work outside of the workers lets them go first. */
#ifndef BASE_GIVE_WAY_H
#define BASE_GIVE_WAY_H

#include <unistd.h>

/* To be called about every 50 us of work that makes no system call, by the main thread only. Where
 * threads share a CPU, Linux from 6.12 on leaves a worker that has become ready waiting until the
 * running thread enters the kernel or the next tick comes (lazy preemption), up to 4 ms; and so
 * long would each datagram wait behind a reload. Not sched_yield(): on a busy machine that waits
 * for a turn of everybody else, each time. */
static inline void give_way(void)
{
    (void)getpid(); /* the cheapest way into the kernel; no library keeps its answer */
}

#endif
