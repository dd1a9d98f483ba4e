#include "run/signals.h"

#include <signal.h>
#include <string.h>

#include "base/log.h"

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    const struct signals *signals = watcher->data;
    const struct signal_actions *actions = &signals->actions;
    (void)loop;
    (void)events;
    switch (watcher->signum) {
    case SIGTERM:
    case SIGINT: actions->end(actions->context, strsignal(watcher->signum)); break;
    case SIGHUP: actions->reload(actions->context); break;
    case SIGUSR2: actions->upgrade(actions->context); break;
    default:
        log_text(LOG_WARNING, "signal_ignored", "%s: it means nothing to the gate",
                 strsignal(watcher->signum));
        break;
    }
}

void signals_watch(struct signals *signals, const struct signal_actions *actions,
                   struct ev_loop *loop)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t none;
    signals->actions = *actions;
    for (int i = 0; i < SIGNALS; i++) {
        ev_signal_init(&signals->watchers[i], on_signal, numbers[i]);
        signals->watchers[i].data = signals;
        ev_signal_start(loop, &signals->watchers[i]);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
