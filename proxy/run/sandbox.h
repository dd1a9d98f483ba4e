/* The gate confines itself once it has its sockets: to the system calls that it makes (seccomp) and
 * to the files that it must read again (Landlock), with no way to new privileges. What an upgrade
 * executes inherits that; so it holds what a whole start needs, and the environment says what it
 * is. Main thread. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "base/err.h"
#include "base/problems.h"
#include "config/config.h"
#include "run/program.h"

/* After root has been given up, and before there is any thread but the log's and the allocator's.
 * binary: as for sandbox_files_confine(). Where the kernel cannot, it says so, and goes on. False
 * with err: no memory. */
bool sandbox_confine(const struct config *config, const struct program *program, int binary,
                     struct err *err) MUST_USE;

/* What the thread of a worker is to call first, which confines it further; NULL if nothing is. */
typedef void sandbox_thread(void);
sandbox_thread *sandbox_of_worker(void);

/* Whether this process, or the one that started it to check an upgrade, may read the files of these
 * settings, and write those that it must. An error for each that it may not. */
void sandbox_check(const struct config *config, struct problems *problems);

/* Of a program that the kernel has refused to execute with EACCES: whether the sandbox is why, as
 * far as anybody can tell; err says what to do then. */
bool sandbox_refuses_program(const char *path, struct err *err);

#endif
