/* Asks another version, before anything is touched, whether it can take this gate's place: as a
 * child that changes nothing. It reads the settings, and looks at the state without a lock. The
 * main thread's, in its loop. */
#ifndef UPGRADE_CHECK_H
#define UPGRADE_CHECK_H

#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "run/program.h"

/* On the command line, with the descriptor of the state: internal. */
#define UPGRADE_CHECK_OPTION "check-handover"

enum { UPGRADE_CHECK_LIMIT_MS = 60000 };

/* A check that runs. Zeroed = none does. */
struct upgrade_check {
    struct ev_loop *loop;
    pid_t child;
    ev_child end;
    ev_io output;
    ev_timer limit;
    char line[1024]; /* that is being read */
    size_t line_len;
    char last_line[1024];
    /* Called for each line that the child says, and once at its end. */
    void (*say)(void *context, const char *line);
    void (*done)(void *context, bool is_good, const char *why_not);
    void *context;
};

static inline bool upgrade_check_runs(const struct upgrade_check *check)
{
    return check->child > 0;
}

/* Starts the check by the program at its path. state: the descriptor. say, done and context must be
 * set. False with err: it could not be started, and done is not called. */
bool upgrade_check_start(struct upgrade_check *check, struct ev_loop *loop,
                         const struct program *program, const char *config_path, int state,
                         struct err *err) MUST_USE;

/* Ends a check that runs; nothing is called any more. */
void upgrade_check_stop(struct upgrade_check *check);

/* The other side: what `--check-handover` does. Returns the exit status. */
int upgrade_check_run(const char *config_path, const char *state);

#endif
