/* Gives up root for good, and keeps memory out of core dumps. */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include <sys/types.h>

#include "base/err.h"

/* True if `user` exists and is not root. */
bool privileges_check(const char *user, struct err *err) MUST_USE;

/* Becomes `user` with its primary and supplementary groups, and proves that the way back is shut.
 * Of the whole process: glibc applies it to every thread. Must be called as root. */
bool privileges_drop(const char *user, struct err *err) MUST_USE;

/* The uid that this process will have with that user in its settings: its own, unless it is root
 * and there is such a user. */
uid_t privileges_uid(const char *user);

/* Whether this process is that user's. */
bool privileges_are_of(const char *user);

/* This process writes no core, and what a debugger makes of it holds no memory. To be called at the
 * start, and again after privileges_drop(), which undoes it. */
void privileges_forbid_core_dumps(void);

#endif
