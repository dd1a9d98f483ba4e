/* Descriptors from one process to the next: listening and backend sockets, the state, the program.
 *
 * They travel in one way only, that of systemd (sd_listen_fds(3)): from descriptor 3 on, their
 * number and names in LISTEN_FDS and LISTEN_FDNAMES, for the process LISTEN_PID. Who hands them
 * over: a process that becomes the next one in place (an upgrade), and a store that keeps copies
 * while a process runs and gives them to the next one (systemd, dtlsgate --keeper).
 *
 * Main thread. */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <sys/types.h>

#include "base/fd_list.h"

/* Names; those of sockets are in run/sockets.h. */
#define HANDOVER_STATE "state"
#define HANDOVER_BINARY "binary"   /* the program that was ready last */
#define HANDOVER_METRICS "metrics" /* its listening socket */
/* What an upgrade goes back to if it fails: only the process that an upgrade began inherits it. */
#define HANDOVER_FALLBACK "binary-before"
/* The conversation of the control socket that asked for the upgrade. */
#define HANDOVER_ASKER "upgrade-asker"

struct handover {
    /* What has come, owned. Who takes a descriptor owns it, and leaves fd = -1. */
    struct named_fd *at;
    uint32_t count;
    /* The same once more, owned, until handover_keep(): so that a start that fails can pass all of
     * it on. */
    struct fd_list inherited;
    /* What the store has, from then on. It holds the files, so that their numbers stay theirs. */
    struct stored_fd {
        char name[FD_NAME_MAX];
        dev_t device;
        ino_t file;
    } * stored;
    uint32_t stored_count, stored_capacity;
    bool has_store;
    bool is_settled;      /* handover_keep() was called */
    uint32_t store_max;   /* descriptors that the store takes; 0 = unknown */
    uint32_t pauses_left; /* of handover_await_drop() */
};

/* Takes what the process before handed over, and forgets it from the environment, so that no child
 * takes it for its own. To be called before anything else opens a descriptor. If anything has come
 * the soft limit of descriptors becomes the hard one, as in handover_exec(). wants_store: there is
 * a store though the environment does not say so (systemd before 254). False with err: the
 * environment contradicts itself; nothing is inherited then. */
bool handover_inherit(struct handover *handover, bool wants_store, struct err *err) MUST_USE;

/* Takes the first descriptor of that name; the caller owns it. -1: there is none. */
int handover_take(struct handover *handover, const char *name);

/* Nobody is to have what came by that name: who took it has closed it, here it is closed, and the
 * store is told to let go of it, which it does soon after. Before handover_keep(). */
void handover_drop(struct handover *handover, const char *name);
/* Waits a little for that. False, at once: nothing was dropped, or it has lasted long enough. */
bool handover_await_drop(struct handover *handover) MUST_USE;

/* Ready: from now on it is `in_use` that the next process gets. The store is told the difference,
 * what nobody took is closed and named in the log. To be called again whenever in_use has changed.
 * Names must be unique. What comes first is stored first. False: the store does not listen, which
 * is in the log; the same call goes on where this one has stopped. */
bool handover_keep(struct handover *handover, const struct fd_list *in_use) MUST_USE;

/* The store keeps this one from now on: what must outlive a process that is killed before it is
 * ready. No other one of that name may be there. fd is borrowed. */
void handover_store(struct handover *handover, const char *name, int fd);

void handover_close(struct handover *handover);

/* Becomes the program `path`, or the one in the descriptor fd if path is NULL, with these
 * descriptors; all others are closed. Returns only if that failed, with descriptors from 3 on
 * overwritten: what can be done then is to try another program with the same list, or to end. */
void handover_exec(const char *path, int fd, char *const *argv, struct fd_list *list,
                   struct err *err);

#endif
