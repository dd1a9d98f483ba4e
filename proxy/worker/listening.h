/* The sockets of a worker that devices send to: they are watched here, and opened and closed by the
 * main thread. */
#ifndef LISTENING_H
#define LISTENING_H

#include "worker/worker_inside.h"

void listening_init(struct worker *worker);

/* These are the sockets from now on. Those that are there already stay as they are; others are
 * leaving. */
void listening_set(struct worker *worker, const struct worker_sockets *sockets, uint32_t count);

/* Reads a batch of what waits in one that is leaving. False: nothing waits in any of them. */
bool listening_drain(struct worker *worker);
/* Forgets those that are leaving: their descriptors may be closed. */
void listening_forget_leaving(struct worker *worker);

/* ClientHellos wait in their sockets, as long as worker->holds_hellos is true. */
void listening_stop_hellos(struct worker *worker);

/* Gives the datapath what has arrived, for whichever address of the worker that is: before it has a
 * thread. */
void listening_give(struct worker *worker, const struct addr *bound, const struct udp_in *batch);

#endif
