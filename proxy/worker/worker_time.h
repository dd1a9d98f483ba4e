/* The clocks of a worker, its one timer, and what it shows of its turns. */
#ifndef WORKER_TIME_H
#define WORKER_TIME_H

#include <time.h>

#include "worker/worker_inside.h"

/* The gate's clock, which goes on over reboots: see state.h. All that sessions keep is of it. */
uint64_t worker_time_ms(const struct worker *worker);
/* Of this process only: for how long something takes, and for other threads. */
uint64_t worker_time_ns(clockid_t clock);

/* Runs what is due and sets the loop's one timer to what is due next. After each batch from either
 * side, so that what it has set is known. */
void worker_time_keep(struct worker *worker, uint64_t now_ms);

/* Shows in the counters that the worker goes round its loop. */
void worker_time_show(struct worker *worker, uint64_t now_ns);

/* Starts the watchers for all of that. */
void worker_time_start(struct worker *worker);

#endif
