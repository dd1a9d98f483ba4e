/* What the control socket needs of the gate around it, and how an action answers. All calls are in
 * the main thread. */
#ifndef CONTROL_SOURCE_H
#define CONTROL_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "count/counters.h"
#include "creds/generation.h"
#include "run/drains.h"
#include "worker/inquiry.h"

struct control;
struct history;
struct report_start;
struct swap_record;

/* Whom the answer to an action goes to. A plain value: it may be kept until the action is over.
 * What is said to a client that has gone meanwhile is dropped. After control_close() it must not be
 * used. */
struct control_answer {
    struct control *control;
    uint64_t client;
};

/* A problem, such as that a file has; as many as there are. */
void control_answer_problem(struct control_answer answer, bool is_warning, const char *text);
/* The end, once. text: why not, or how it went; "" = nothing to add. What can be sent at once is:
 * the process may end right afterwards. */
void control_answer_end(struct control_answer answer, bool is_ok, const char *text);

/* The same, but the next process ends the conversation: a descriptor of it, the caller's. -1: the
 * client has gone or has not read what it was told before, or there is no descriptor left. */
int control_answer_detach(struct control_answer answer);
/* In the next process. Takes the descriptor. */
void control_answer_end_at(int fd, bool is_ok, const char *text);

/* What the gate does when it is told to. Each must answer, at once or later; NULL = this gate
 * cannot do that. */
struct control_actions {
    void *context;
    void (*reload)(void *context, struct control_answer answer);
    void (*upgrade)(void *context, struct control_answer answer);
    void (*stop)(void *context, struct control_answer answer, bool with_farewell);
};

/* All borrowed. */
struct control_source {
    /* The one in use: whoever reloads sets the pointer that this points to. */
    struct generation *const *generation;
    const struct worker_counters *const *workers;
    uint32_t worker_count;
    /* Mails the inquiry to a worker, as worker_ask(). */
    bool (*ask)(void *context, uint32_t worker, struct inquiry *inquiry);
    void *context;
    struct drains *drains;
    struct history *history; /* NULL = nobody looks at how backends do */
    uint64_t started_ms;     /* of CLOCK_MONOTONIC */
    const struct report_start *start;
    const struct swap_record *reloads;
    const _Atomic bool *is_ready;
    struct control_actions actions;
};

#endif
