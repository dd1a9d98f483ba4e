/* A worker goes over to other settings: at once for what is new, and in slices between the
 * datagrams for all that is there. */
#ifndef WORKER_SWAP_H
#define WORKER_SWAP_H

#include "worker/worker_inside.h"

void worker_swap_init(struct worker *worker);
/* Before the thread is started: sessions that were taken over are looked at when it runs. */
void worker_swap_look(struct worker *worker);
void worker_swap_begin(struct worker *worker, struct worker_swap *swap, uint64_t now_ms);

#endif
