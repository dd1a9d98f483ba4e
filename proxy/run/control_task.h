/* One command of the control socket while it is being answered: what it asks of workers, and what
 * becomes of their answers. Knows no socket. The main thread. */
#ifndef CONTROL_TASK_H
#define CONTROL_TASK_H

#include "run/command.h"
#include "run/control_output.h"
#include "run/control_source.h"

enum {
    /* With more than that many bytes waiting, a client is told no more until it reads. */
    CONTROL_OUTPUT_ENOUGH = 64 * 1024,
};

/* Zeroed = nothing is being answered. */
struct control_task {
    struct command_request request;
    const struct control_source *source; /* borrowed */
    struct control_output *output;       /* borrowed */
    enum control_task_state {
        TASK_NONE,
        TASK_ASKS,   /* its inquiry is with a worker, or its client has to read first */
        TASK_ACTION, /* the gate answers it: control_answer_end() */
    } state;
    struct inquiry *inquiry; /* owned, unless it is with a worker */
    bool has_answer;         /* of the inquiry, and it has not been asked anew since */
    uint32_t worker, last_worker;
    uint64_t count; /* of what was told or ended */
};

/* Begins a command; it may be over at once. wake: called by a worker's thread when it has answered,
 * with that context; then control_task_go_on() is to be called. answer: for an action. */
void control_task_begin(struct control_task *task, const struct command_request *request,
                        void (*wake)(void *context), void *context, struct control_answer answer);

/* Goes on with what has been answered and read. True if there was something to do. */
bool control_task_go_on(struct control_task *task);

/* It waits for a worker: for which, and whether that has answered meanwhile. */
bool control_task_waits(const struct control_task *task, uint32_t *worker);
bool control_task_is_answered(const struct control_task *task);

/* It is over: the client has gone, or a worker does not answer. */
void control_task_drop(struct control_task *task);

#endif
