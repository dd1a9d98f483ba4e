/* What something costs by itself, in CPU time of the thread: a median of rounds. */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include <stdint.h>

/* CPU time of this thread so far. Reading it is a system call. */
uint64_t rounds_cpu_ns(void);

/* The median of so many calls, and one before them that does not count. */
double rounds_median(unsigned count, double measure(void *context), void *context);

#endif
