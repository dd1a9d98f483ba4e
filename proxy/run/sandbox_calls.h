/* The system calls that a confined gate may make: by seccomp, inherited by threads and over execve.
 * A refused one ends as if the kernel did not have it (ENOSYS), which libraries are prepared for.
 */
#ifndef SANDBOX_CALLS_H
#define SANDBOX_CALLS_H

#include "base/err.h"

/* Another one for another list: a program that inherits this list adds its own if it differs. */
enum { SANDBOX_CALLS_NUMBER = 2 };

enum sandbox_calls {
    SANDBOX_CALLS_OF_PROCESS, /* serving, and the whole start of the program that comes next */
    SANDBOX_CALLS_OF_WORKER,  /* of one thread, on the way of a datagram: no file, no program */
};

/* For all threads of the process, or the calling one, and for good. is_logged_only: nothing is
 * refused, the kernel logs what would be. False with err: nothing has changed. */
bool sandbox_calls_confine(enum sandbox_calls which, bool is_logged_only, struct err *err) MUST_USE;

#endif
