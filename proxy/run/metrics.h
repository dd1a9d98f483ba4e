/* Sums the workers' counters and serves them over HTTP (libmicrohttpd, in a thread of its own):
 * /metrics, /healthz, /readyz. Never on the path of a datagram. Clients that are slow, or many, do
 * not keep others away: see metrics_clients.h. */
#ifndef METRICS_H
#define METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "count/counters.h"
#include "creds/generation.h"

struct metrics;

/* What is served; all borrowed, must outlive the metrics. */
struct metrics_source {
    const struct worker_counters *const *workers;
    uint32_t worker_count;
    const struct generation *generation; /* the names of the listeners */
    const char *tls_library_version;
    const _Atomic bool *is_ready; /* for /readyz */
};

/* Serves on the address; NULL with err if that fails. The caller owns the result. */
struct metrics *metrics_open(const struct addr *addr, const struct metrics_source *source,
                             struct err *err) MUST_USE;
/* NULL is harmless. */
void metrics_close(struct metrics *metrics);

/* The text of /metrics; the caller frees it. NULL if out of memory. */
char *metrics_render(const struct metrics_source *source);

#endif
