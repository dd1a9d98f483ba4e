/* Which state a start has: the one of the process before, or a new one. Main thread, first thing of
 * a start. */
#ifndef STATE_CHOICE_H
#define STATE_CHOICE_H

#include "run/handover.h"
#include "state/state.h"

/* Names of descriptors: a state that was not used, kept for inspection until the next one is. */
#define STATE_CHOICE_REFUSED "state-refused"
#define STATE_CHOICE_CRASHED "state-crashed"

enum {
    STATE_CHOICE_CRASHES_MAX = 3, /* within the next, with the state of one; then without it */
    STATE_CHOICE_WITHIN_MS = 60000,
    STATE_CHOICE_FAILED_MAX = 2, /* starts of a build that never became ready */
};

enum state_choice {
    STATE_CHOICE_TAKEN, /* sessions go on */
    STATE_CHOICE_NEW,   /* none was there, or none that could be used */
    /* This build does not come up with the state; the program that was ready last is to be executed
     * with all that was inherited (HANDOVER_BINARY). Nothing has been taken. */
    STATE_CHOICE_GO_BACK,
    STATE_CHOICE_FAILED, /* err says why; what was inherited is untouched */
};

/* memory: descriptor of the state that was found, which is taken; -1 = none. build: the name of
 * this version. self: this program, open; -1 = unknown. A state that is not used is said in the
 * log, and goes into `aside`, which owns it, as one does that was put aside before. The start is
 * noted in the state. */
enum state_choice state_choice_make(struct state *state, struct handover *handover, int memory,
                                    const char *build, int self, struct fd_list *aside,
                                    struct err *err) MUST_USE;

#endif
