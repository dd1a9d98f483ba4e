/* Gives up root for good. */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include "base/err.h"

/* True if `user` exists and is not root. */
bool privileges_check(const char *user, struct err *err) MUST_USE;

/* Becomes `user` with its primary and supplementary groups, and proves that the way back is shut.
 * Of the whole process: glibc applies it to every thread. Must be called as root. */
bool privileges_drop(const char *user, struct err *err) MUST_USE;

#endif
