/* The event loop of the main thread. */
#ifndef MAIN_LOOP_H
#define MAIN_LOOP_H

#include <ev.h>
#include <stdbool.h>

#include "base/err.h"

/* The only one that hears of children and signals. It ends the program, with a line in the log, if
 * the kernel has no descriptor or memory for it later. The caller destroys it. */
bool main_loop_open(struct ev_loop **loop, struct err *err) MUST_USE;

#endif
