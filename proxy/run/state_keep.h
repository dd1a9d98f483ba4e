/* The state file in the life of the gate: its key when settings are read, the file at start and at
 * stop, and what is said about it. With no state_file in the settings nothing of this does
 * anything. The main thread's. */
#ifndef RUN_STATE_KEEP_H
#define RUN_STATE_KEEP_H

#include "base/problems.h"
#include "creds/generation.h"
#include "run/state_file.h"

/* Reads the key of the settings' state_file into generation->state_key; says what is wrong with it,
 * or with the folder. */
void state_keep_load(struct generation *generation, struct problems *problems);

/* Says so if the file could not be written at the stop: once the gate is the user that it will be.
 */
void state_keep_check(const struct generation *generation);

/* Whether a stop can write it, as far as that shows before: else devices had better be told. */
bool state_keep_is_possible(const struct generation *generation);

/* What a start does before there is a state: see the table in state_file.h. memory: the descriptor
 * of the one that was inherited; -1: none. Returns the descriptor of the one to adopt, -1: none.
 * One of a file says so in its header, and its clock goes on. */
int state_keep_take(const struct generation *generation, int memory) MUST_USE;

/* At the stop, when nothing uses the state any more; nothing may use it later. gate_ms: the gate's
 * clock; deadline_ms of CLOCK_MONOTONIC. */
void state_keep_write(const struct generation *generation, int memory, uint64_t gate_ms,
                      uint64_t deadline_ms);

#endif
