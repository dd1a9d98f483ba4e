/* What the gate is asked for by signals. The main thread's. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <ev.h>

enum { SIGNALS = 5 };

struct signal_actions {
    void (*end)(void *context, const char *signal); /* TERM, INT */
    void (*reload)(void *context);                  /* HUP */
    void (*upgrade)(void *context);                 /* USR2 */
    void *context;
};

struct signals {
    struct signal_actions actions;
    ev_signal watchers[SIGNALS];
};

/* From now on, in turns of the loop. Before anything is started: a signal that comes early is kept
 * until the loop runs. One that came earlier still waits, blocked by main.c, or by a keeper or an
 * upgrade that has started us. `signals` must stay where it is as long as the loop. */
void signals_watch(struct signals *signals, const struct signal_actions *actions,
                   struct ev_loop *loop);

#endif
