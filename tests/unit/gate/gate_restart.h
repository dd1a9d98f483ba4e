/* A gate of a test (gate_fixture.h) whose process is killed, and whose state the next one takes
 * over: nothing is said to anybody, and nothing is kept but what lies in the state. Handshakes are
 * lost.
 */
#ifndef GATE_RESTART_H
#define GATE_RESTART_H

#include "gate/gate_fixture.h"

/* The state comes from a file; and from this machine. */
enum gate_origin { GATE_STATE_SAME, GATE_STATE_COPY, GATE_STATE_COPY_ELSEWHERE };

/* Fails the test if it cannot be taken over. */
struct sessions_adopted gate_restart(struct gate *gate);
struct sessions_adopted gate_restart_from(struct gate *gate, enum gate_origin origin);

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

#endif
