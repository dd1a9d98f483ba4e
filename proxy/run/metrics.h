/* Sums the workers' counters and serves them over HTTP (libmicrohttpd, in a thread of its own):
 * /metrics, /healthz, /readyz. Never on the path of a datagram. Clients that are slow, or many, do
 * not keep others away: see metrics_clients.h. */
#ifndef METRICS_H
#define METRICS_H

#include "base/addr.h"
#include "base/err.h"
#include "run/metrics_text.h"

struct metrics;

/* Serves on a socket that listens at the address, and is borrowed (metrics_socket.h); NULL with err
 * if that fails. The caller owns the result. */
struct metrics *metrics_open(const struct addr *addr, int listen_fd,
                             const struct metrics_source *source, struct err *err) MUST_USE;
/* NULL is harmless. */
void metrics_close(struct metrics *metrics);

#endif
