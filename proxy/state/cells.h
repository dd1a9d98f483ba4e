/* Memory for sessions and for what belongs to them, in the region that outlives the process: cells
 * of many sizes, in chunks of one size and kind each. Nothing in it ever moves; what is given back
 * is wiped and used again. What is free and where new ones come from is private, and each worker
 * has its own: one thread. Only who owns a chunk's size is in the region. */
#ifndef STATE_CELLS_H
#define STATE_CELLS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/region.h"

/* Stable codes: they stand in the region. */
enum cells_kind {
    CELLS_SESSIONS = 1, /* sizes are whole cache lines */
    CELLS_PIECES = 2,   /* what belongs to sessions */
};

enum {
    CELLS_KINDS = 2,
    CELLS_UNIT_BYTES = 16,
    CELLS_MAX_BYTES = 2048,
    CELLS_SIZES = CELLS_MAX_BYTES / CELLS_UNIT_BYTES,
};

/* A cell's number is its place in the region, in units; this is none. */
#define CELLS_NONE UINT32_MAX

/* Of one size and kind. Numbers of cells. */
struct cells_list {
    uint32_t free;              /* first of a list; CELLS_NONE = there is none */
    uint32_t fresh, fresh_left; /* the next cell of its chunk that was never used, and how many */
    uint32_t taken;
};

struct cells {
    struct region *region; /* borrowed */
    struct cells_list lists[CELLS_KINDS][CELLS_SIZES];
};

void cells_init(struct cells *cells, struct region *region);

/* A zeroed cell of so many bytes, up to CELLS_MAX_BYTES. NULL: out of memory, or it is longer. */
void *cells_take(struct cells *cells, enum cells_kind kind, size_t bytes);
/* `bytes` as it was taken. NULL is harmless. */
void cells_give(struct cells *cells, enum cells_kind kind, void *cell, size_t bytes);

static inline void *cells_at(const struct cells *cells, uint32_t number)
{
    return cells->region->base + (size_t)number * CELLS_UNIT_BYTES;
}
static inline uint32_t cells_number_of(const struct cells *cells, const void *cell)
{
    return (uint32_t)((size_t)((const uint8_t *)cell - cells->region->base) / CELLS_UNIT_BYTES);
}

/* What this worker has taken of a kind, and of all kinds. */
size_t cells_bytes_of(const struct cells *cells, enum cells_kind kind);
size_t cells_bytes_taken(const struct cells *cells);

#endif
