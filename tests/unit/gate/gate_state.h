/* A state for a gate of a test: new, with the listeners of its generation and counters for some
 * workers. */
#ifndef GATE_STATE_H
#define GATE_STATE_H

#include "creds/generation.h"
#include "state/state.h"

enum { GATE_STATE_WORKERS = 8 };

/* Ends the program if it cannot. The caller closes it, after everything that lies in it. */
void gate_state_open(struct state *state, struct generation *generation);

/* Of a test of the state alone, for cmocka: a new one without any listener, and its end. */
int gate_state_set_up(void **at);
int gate_state_tear_down(void **at);

#endif
