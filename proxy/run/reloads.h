/* Reloads that signals and operators ask for: one at a time, each with its lines in the log and its
 * answers. swap.h does it. Main thread. */
#ifndef RELOADS_H
#define RELOADS_H

#include "run/control_source.h"
#include "run/swap.h"

enum { RELOADS_ANSWERS_MAX = 16 };

struct reloads {
    struct swap *swap; /* borrowed */
    struct drains *drains;
    bool is_wanted; /* asked for while another one was on its way: once more, then */
    struct control_answer waiting[RELOADS_ANSWERS_MAX]; /* for the next one */
    struct control_answer answers[RELOADS_ANSWERS_MAX]; /* for the one on its way */
    uint32_t waiting_count, answer_count;
    /* Sockets have been closed, or others are there. */
    void (*on_done)(void *context);
    void *context;
};

/* By a signal. */
void reloads_ask(struct reloads *reloads);
/* By an operator, who gets an answer when all workers have gone over. */
void reloads_ask_with_answer(struct reloads *reloads, struct control_answer answer);
/* When the swap has been woken, and each second. */
void reloads_go_on(struct reloads *reloads);

#endif
