/* Tells whether workers go round their event loops. Each shows when it last did, at least once a
 * second even if no datagram comes; one that hangs in a batch, or does not run at all, falls
 * silent. Read from any thread. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include "count/counters.h"

enum {
    WATCHDOG_LATE_MS = 3000,    /* from here on it counts as unresponsive */
    WATCHDOG_FAILED_MS = 10000, /* from here on the gate is not healthy */
};

struct watchdog_verdict {
    uint32_t late; /* how many are silent for WATCHDOG_LATE_MS */
    uint32_t worker;
    uint64_t silent_ms; /* of that worker: the longest */
};

/* now_ms is of CLOCK_MONOTONIC. A worker whose thread was not started yet is not late. */
struct watchdog_verdict watchdog_look(const struct worker_counters *const *workers, uint32_t count,
                                      uint64_t now_ms);

/* The same of now. If the gate looks unhealthy, waits up to half a second for the worker to show
 * itself: after a pause of the whole process or machine each of them looks late at first. */
struct watchdog_verdict watchdog_look_twice(const struct worker_counters *const *workers,
                                            uint32_t count);

/* Logs a worker that falls silent, and its return; to be called about once a second. One owner
 * thread; zeroed = nothing has been said. True as long as the gate is healthy. */
struct watchdog_log {
    bool is_said;
    uint32_t worker;          /* whose silence was said */
    uint64_t failed_since_ms; /* first look of those in a row that saw a failure; 0 = none */
};

bool watchdog_log_look(struct watchdog_log *log, const struct worker_counters *const *workers,
                       uint32_t count, uint64_t now_ms);

#endif
