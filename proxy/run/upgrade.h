/* Another version takes this gate's place, in the same process. First it is asked whether it can
 * (upgrade_check.h). Then hellos wait in their sockets, handshakes in progress have a few seconds,
 * and the new program is executed with all descriptors. If it fails before it is ready, it executes
 * the one before again, by the descriptor that it has of it. The main thread's. */
#ifndef UPGRADE_H
#define UPGRADE_H

#include "run/control_source.h"
#include "run/crew.h"
#include "run/handover.h"
#include "run/upgrade_check.h"
#include "run/upgrade_record.h"

enum { UPGRADE_HANDSHAKES_MS = 3000 }; /* for handshakes in progress */

struct upgrade {
    /* Set before the first upgrade_begin(); all borrowed. */
    struct ev_loop *loop;
    const struct program *program;
    const char *config_path;
    const struct crew *crew;
    int state; /* descriptor */
    struct upgrade_record *record;
    /* The loop has been left for it: what runs is to end, leaving its sessions, and
     * upgrade_execute() to be called. */
    bool is_due;
    /* Then: who is to hear how it went, for the next process; -1 = nobody, as before. Owned. */
    int asker;
    /* Its own. */
    struct upgrade_check check;
    struct control_answer answer;
    bool has_answer, is_waiting;
    bool has_stopped;   /* no other one begins */
    bool holds_signals; /* for the next program, from the end of the wait on */
    ev_timer wait;      /* for handshakes in progress */
    uint64_t deadline_ms;
};

/* Begins, unless one has begun, or the gate is ending. asker: who asked for it and hears of it;
 * NULL = nobody but the log does. */
void upgrade_begin(struct upgrade *upgrade, const struct control_answer *asker);

/* The loop ends for another reason, be it in the turn that left it for an upgrade: there is none
 * any more, and who asked for it hears that. While the control socket is open. */
void upgrade_stop(struct upgrade *upgrade);

/* Becomes the program at its path, or if that fails the one in `binary`, with these descriptors.
 * Returns if both failed. */
void upgrade_execute(const struct program *program, int binary, struct fd_list *list,
                     struct err *err);

/* What an upgrade left for the process that goes on, from the environment, which forgets it: done,
 * failed or none. text receives the version before, or why it failed. */
enum upgrade_result upgrade_result_take(char *text, size_t size);

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
