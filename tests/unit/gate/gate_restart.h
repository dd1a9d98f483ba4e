/* A gate of a test (gate_fixture.h) whose process is killed, and whose state the next one takes
 * over: nothing is said to anybody, and nothing is kept but what lies in the state. Handshakes are
 * lost.
 */
#ifndef GATE_RESTART_H
#define GATE_RESTART_H

#include "gate/gate_fixture.h"

/* Fails the test if it cannot be taken over. */
struct sessions_adopted gate_restart(struct gate *gate);
/* The next process has these settings. */
struct sessions_adopted gate_restart_as(struct gate *gate, const char *ini);
/* The same; the state comes from there. */
struct sessions_adopted gate_restart_from(struct gate *gate, enum layout_origin origin);

/* The process that goes on with it is killed when so many of its workers have taken over their
 * sessions. Nothing can be done with the gate but to restart it. Returns what became of theirs. */
struct sessions_adopted gate_restart_killed(struct gate *gate, enum layout_origin origin,
                                            uint32_t worker_count, uint32_t killed_after);

/* The same; between the two processes somebody writes into the memory. */
struct sessions_adopted gate_restart_damaged(struct gate *gate,
                                             void (*damage)(struct region *region, void *context),
                                             void *context);

/* By way of a process with so many workers, which is killed at once. The workers' numbers are those
 * of the sessions' buckets: a test can look which sessions each has by `on_worker`, which may be
 * NULL. Returns what became of the sessions on their way through it. */
struct sessions_adopted gate_restart_with(struct gate *gate, uint32_t worker_count,
                                          void (*on_worker)(const struct datapath *dp,
                                                            void *context),
                                          void *context);

/* gate_restart() in its parts. The process is gone, and what is left is the state, by that
 * descriptor. */
int gate_die(struct gate *gate);
/* The next one has that state, and has done nothing to it yet. Takes the descriptor. If there is a
 * process, it is one that was killed in the middle of anything: nothing that it had in its own
 * memory is looked at, or freed. */
void gate_rise(struct gate *gate, int fd);
/* It takes over. */
struct sessions_adopted gate_begin_anew(struct gate *gate);

#endif
