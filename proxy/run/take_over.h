/* Going on with the sessions of the process before, by all workers at the same time. The main
 * thread's. */
#ifndef TAKE_OVER_H
#define TAKE_OVER_H

#include "run/state_file.h"
#include "state/state.h"
#include "worker/worker.h"

/* Once all workers are open, and before any is started. taken: where the state came from; a memory
 * of -1: not from a file. One line in the log says what became of the sessions. False with err: out
 * of memory; the state is as it was. Nothing happens if the state is new. */
bool take_over_sessions(struct worker *const *workers, uint32_t count, struct state *state,
                        const struct state_taken *taken, struct err *err) MUST_USE;

#endif
