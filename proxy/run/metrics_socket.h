/* The listening socket of the metrics. */
#ifndef METRICS_SOCKET_H
#define METRICS_SOCKET_H

#include "base/addr.h"
#include "base/err.h"

/* Listens at the address, non-blocking; the caller owns the descriptor. -1 with err if that fails.
 */
int metrics_socket_open(const struct addr *addr, struct err *err) MUST_USE;

#endif
