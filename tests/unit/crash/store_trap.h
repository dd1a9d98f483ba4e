/* Stops a program before each of its stores into a region of memory: what is in the region then is
 * all that a kill at that instruction would leave. Nothing is left out and nothing has to be
 * marked, since the processor sees the stores: the region can only be read, and who writes is let
 * through for one instruction.
 *
 * One trap in the process, which has one thread. What the kernel writes there is not seen; nothing
 * is that way while a gate runs. */
#ifndef STORE_TRAP_H
#define STORE_TRAP_H

#include <stdbool.h>
#include <stddef.h>

#include "state/region.h"

/* Whether this machine's programs can be stopped so: x86-64 only, where a program can have itself
 * stepped. */
bool store_trap_is_possible(void);

struct store_trap_stop {
    size_t offset;    /* in the region: what the next store is for */
    bool has_changed; /* something, since the stop before this one: stores of the same are many */
};

/* Calls before_store() before each store into the region, until it is disarmed. It may fork, and
 * must not write there itself. The region is borrowed until then. */
void store_trap_arm(struct region *region,
                    void (*before_store)(const struct store_trap_stop *stop, void *context),
                    void *context);
/* Not before those into that part of it, whole pages, from now on. */
void store_trap_leave_out(size_t offset, size_t bytes);
/* Harmless if it is not armed. */
void store_trap_disarm(void);

#endif
