/* Another version takes this gate's place, in the same process. First it is asked, as a child that
 * changes nothing, whether it can: `--check-handover` reads the settings and looks at the state.
 * Then hellos wait in their sockets, handshakes in progress have a few seconds, and the new program
 * is executed with all descriptors. If it fails before it is ready, it executes this one again, by
 * the descriptor that it has of it. The main thread's. */
#ifndef UPGRADE_H
#define UPGRADE_H

#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>

#include "run/handover.h"
#include "run/program.h"

/* On the command line, with the descriptor of the state: internal. */
#define UPGRADE_CHECK_OPTION "check-handover"

enum {
    UPGRADE_CHECK_LIMIT_MS = 60000,
    UPGRADE_HANDSHAKES_MS = 3000, /* for handshakes in progress */
};

/* A check that runs. Zeroed = none does. */
struct upgrade_check {
    struct ev_loop *loop;
    pid_t child;
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

/* Becomes the program at its path, or if that fails the one in `binary`, with these descriptors.
 * Returns if both failed. */
void upgrade_execute(const struct program *program, int binary, struct fd_list *list,
                     struct err *err);

/* What an upgrade left for the process that goes on. */
enum upgrade_result { UPGRADE_NONE, UPGRADE_DONE, UPGRADE_FAILED };

/* Which one it is, from the environment, which forgets it. *text: the version before, or why it
 * failed; good for the life of the process. */
enum upgrade_result upgrade_result_take(const char **text);

/* Whether this process was begun by an upgrade and can go back. */
static inline bool upgrade_may_go_back(const struct handover *handover)
{
    return fd_list_find(&handover->inherited, HANDOVER_FALLBACK) != NULL;
}

/* Executes the program before with all that it had; why: what has failed. Returns with err if that
 * fails, too. */
void upgrade_go_back(struct handover *handover, const struct program *program, const char *why,
                     struct err *err);

#endif
