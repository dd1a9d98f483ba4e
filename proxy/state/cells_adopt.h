/* Taking over the cells that a process before has left in a region. What the region says may be
 * garbage: nothing of it is followed without a look at whether there is such a cell. In two steps:
 * all workers claim the cells that they go on with; then they share out the chunks, and what nobody
 * has claimed is wiped and free. */
#ifndef STATE_CELLS_ADOPT_H
#define STATE_CELLS_ADOPT_H

#include <stdatomic.h>

#include "base/err.h"
#include "state/cells.h"

/* Which cells have been claimed. Zeroed = not begun. */
struct cells_adopt {
    struct region *region;     /* borrowed */
    _Atomic uint64_t *claimed; /* owned; a bit for each unit of all chunks */
    uint32_t chunk_end;        /* behind the last chunk that is in use */
};

/* Before any cell of this process is taken. Chunks of which the directory says nonsense are gone.
 * The main thread. */
bool cells_adopt_begin(struct cells_adopt *adopt, struct region *region, struct err *err) MUST_USE;
/* The same for somebody who only looks, at the region of a process that goes on with it: nothing is
 * written, and only cells_adopt_next() may be called. A chunk that says nonsense is passed over. */
void cells_adopt_look(struct cells_adopt *adopt, struct region *region);
/* Harmless if it was not begun. */
void cells_adopt_end(struct cells_adopt *adopt);

/* ---- any thread ---- */

/* The cell of that kind behind this one, or the first one for NULL, whether it is free or not; NULL
 * = no more. */
void *cells_adopt_next(const struct cells_adopt *adopt, enum cells_kind kind, const void *cell);

/* In how many bytes an object of that kind lies that begins there; 0: there is no cell. `cell` may
 * be anything. */
size_t cells_adopt_bytes(const struct cells_adopt *adopt, enum cells_kind kind, const void *cell);

/* It is the worker's from now on. False: it has been claimed before. It must be a cell. */
bool cells_adopt_claim(struct cells_adopt *adopt, struct cells *cells, enum cells_kind kind,
                       const void *cell) MUST_USE;
/* Nobody's again. */
void cells_adopt_unclaim(struct cells_adopt *adopt, struct cells *cells, enum cells_kind kind,
                         const void *cell);

/* When all have claimed: what is left is wiped and free. Of each worker's chunks. */
void cells_adopt_sweep(struct cells_adopt *adopt, struct cells *cells, uint32_t worker,
                       uint32_t worker_count);

#endif
