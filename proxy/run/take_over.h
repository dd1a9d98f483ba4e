/* Going on with the sessions of the process before, by all workers at the same time. The main
 * thread's. */
#ifndef TAKE_OVER_H
#define TAKE_OVER_H

#include "session/sessions_adopt.h"
#include "state/state.h"
#include "worker/worker.h"

/* Once all workers are open, and before any is started. One line in the log says what became of the
 * sessions, and *sum. False with err: out of memory; the state is as it was. Nothing happens if the
 * state is new. */
bool take_over_sessions(struct worker *const *workers, uint32_t count, struct state *state,
                        struct sessions_adopted *sum, struct err *err) MUST_USE;

#endif
