/* The memory that outlives a process: one file without a name (memfd), mapped and shared, which the
 * next process inherits by its descriptor. It is sparse: addresses for all that there may ever be,
 * memory only where region_need() has asked for it. Left out of core dumps, not inherited by forks.
 * Where what lies in it: layout.h. Nothing in it points to addresses: those are other ones in the
 * next process. */
#ifndef STATE_REGION_H
#define STATE_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Zeroed = closed. One owner; its content is shared by all threads. */
struct region {
    uint8_t *base;
    size_t bytes; /* LAYOUT_BYTES */
    int fd;       /* owned; close-on-exec */
    int lock_fd;  /* owned; close-on-exec: the lock goes with the process, not with fd */
    /* For cells.c, any thread: all chunks before the first one are in use, and none behind the last
     * one. */
    _Atomic uint32_t first_chunk, chunk_end;
    /* Pages may not be locked, so that keys may get into swap space; any thread. */
    _Atomic bool is_unlocked;
};

/* A new one, zeroed, with the lock. */
bool region_create(struct region *region, struct err *err) MUST_USE;

/* Maps what is there, and takes the lock, so that there are never two processes that use the same
 * state. Takes fd, if it returns true only. False: another process has the lock; or it is no such
 * file. */
bool region_adopt(struct region *region, int fd, struct err *err) MUST_USE;

/* The same for somebody who only looks: no lock, and nobody writes. Takes fd, if true only. */
bool region_map_read_only(struct region *region, int fd, struct err *err) MUST_USE;

/* Gives back the addresses, the lock and the descriptor. What is in it lives on as long as somebody
 * else has a descriptor; else the kernel frees it. Harmless if it is closed. */
void region_close(struct region *region);

/* Memory is there for these bytes from now on; what was not there before is zeroed. False: out of
 * memory. Whoever touches pages that were not asked for may be killed for it. Any thread. */
bool region_need(struct region *region, size_t offset, size_t bytes) MUST_USE;

/* Gives the memory of whole pages back to the system, wiped; they are zero again. Any thread. */
void region_give(struct region *region, size_t offset, size_t bytes);

/* The first byte at or behind `offset` that has memory; region->bytes = none. To find what a state
 * really has, whatever is written in it. */
size_t region_next_used(const struct region *region, size_t offset);

/* The first byte at or behind `offset` that has none; region->bytes = all have. */
size_t region_next_unused(const struct region *region, size_t offset);

#endif
