/* The listening socket of the metrics. It goes from one process to the next: one that has given up
 * its privileges could not open a low port again. Who asks meanwhile waits in it. */
#ifndef METRICS_SOCKET_H
#define METRICS_SOCKET_H

#include "base/addr.h"
#include "base/err.h"
#include "run/handover.h"

/* Listens at the address, non-blocking: the socket that was handed over, if there is one and it is
 * there, or a new one. handover: NULL = there is none. The caller owns the descriptor. -1 with err
 * if that fails. */
int metrics_socket_open(const struct addr *addr, struct handover *handover,
                        struct err *err) MUST_USE;

#endif
