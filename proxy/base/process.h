/* What the kernel says about this process, from /proc. Any thread. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdint.h>

/* A number that cannot be had (no /proc in this container) is 0. */
struct process_usage {
    uint64_t start_time_ms; /* since 1970-01-01 UTC; the kernel counts in steps of 10 ms */
    uint64_t cpu_us;        /* user and system, all threads */
    uint64_t resident_bytes;
    uint64_t open_fds;
    uint64_t max_fds; /* soft limit */
};

void process_read_usage(struct process_usage *usage);

#endif
