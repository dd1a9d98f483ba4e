/* The text of /metrics, in the format of Prometheus: the workers' counters, summed, and what else
 * the gate can tell of itself. */
#ifndef METRICS_TEXT_H
#define METRICS_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "count/counters.h"
#include "run/drains.h"
#include "run/swap.h"
#include "worker/inquiry.h"

struct history;
struct report_start;

/* What is served; all borrowed, must outlive the metrics. */
struct metrics_source {
    const struct worker_counters *const *workers;
    uint32_t worker_count;
    const struct worker_counters *inherited; /* of the processes before; NULL = there were none */
    struct swap *swap;                       /* the generation in force, and how reloads went */
    const char *tls_library_version;
    const _Atomic bool *is_ready;     /* for /readyz */
    const struct drains *drains;      /* the same, and for /status */
    struct history *history;          /* for /history and /status; NULL = there is none */
    uint64_t started_ms;              /* of CLOCK_MONOTONIC */
    const struct report_start *start; /* borrowed; see report_json.h */
    /* Mails the inquiry to a worker, as worker_ask(). */
    bool (*ask)(void *context, uint32_t worker, struct inquiry *inquiry);
    void *context;
};

/* The caller frees it. NULL if out of memory. */
char *metrics_text_render(const struct metrics_source *source);

#endif
