#include "run/main_loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "run/check.h"

/* Without a callback the library would abort. It goes on when this returns, and tries again. */
static void on_error(const char *what)
{
    log_text(LOG_ERROR, "event_loop_failed", "%s: %s; the program ends", what, strerror(errno));
    log_stop();
    _exit(EXIT_RUN_TIME);
}

bool main_loop_open(struct ev_loop **loop, struct err *err)
{
    ev_set_syserr_cb(on_error);
    *loop = ev_default_loop(EVFLAG_AUTO);
    return *loop != NULL || err_set(err, "no event loop: %s", strerror(errno));
}
