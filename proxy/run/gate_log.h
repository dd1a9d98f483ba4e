/* What a gate says of its start and its end. */
#ifndef GATE_LOG_H
#define GATE_LOG_H

#include <stdint.h>

#include "base/problems.h"
#include "creds/generation.h"

/* How lines are written from now on; a keeper is told, since its own stand among them. */
void gate_log_set(const struct gate_config *config);
/* A line each. */
void gate_log_problems(const struct problems *problems);
/* Where it listens, and that it is ready. */
void gate_log_ready(const struct generation *generation, uint32_t worker_count);
/* So many sessions go on in the next process. */
void gate_log_kept(uint64_t count);
/* The program ends without the worker; what becomes of sessions then. */
enum gate_log_fate {
    GATE_LOG_NO_FAREWELL, /* those of the worker would have had one */
    GATE_LOG_KEPT,
    GATE_LOG_LOST,
    GATE_LOG_NO_FILE, /* a state_file was wanted */
};
void gate_log_stop_failed(uint32_t worker, enum gate_log_fate fate);

#endif
