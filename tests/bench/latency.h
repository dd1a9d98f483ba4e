/* Every latency of a phase, kept, so that percentiles are exact. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>

struct latency {
    uint64_t *values_ns; /* owned */
    size_t count, room;
};

void latency_add(struct latency *latency, uint64_t value_ns);

/* The value that this share (0 to 1) of all values does not exceed; sorts. 0 if there is none. */
double latency_percentile_us(struct latency *latency, double share);

/* Forgets the values, keeps the memory. */
void latency_reset(struct latency *latency);
void latency_deinit(struct latency *latency);

#endif
