/* What cells.c and cells_adopt.c share. */
#ifndef STATE_CELLS_INSIDE_H
#define STATE_CELLS_INSIDE_H

#include <assert.h>

#include "base/poison.h"
#include "state/cells.h"
#include "state/layout.h"

/* At the beginning of a cell that is free; the rest of it is zero. */
struct free_cell {
    uint32_t next;
};

/* The directory has an entry for each chunk: 0 = it is not in use. */
static inline uint32_t cells_entry(enum cells_kind kind, uint32_t units)
{
    return (uint32_t)kind << 16 | units;
}
static inline enum cells_kind cells_entry_kind(uint32_t entry)
{
    return (enum cells_kind)(entry >> 16);
}
static inline uint32_t cells_entry_units(uint32_t entry)
{
    return entry & 0xffff;
}

static inline _Atomic uint32_t *cells_directory(const struct region *region)
{
    return (_Atomic uint32_t *)(void *)(region->base + LAYOUT_DIRECTORY_AT);
}

static inline size_t cells_chunk_at(uint32_t chunk)
{
    return LAYOUT_CHUNKS_AT + (size_t)chunk * LAYOUT_CHUNK_BYTES;
}

static inline struct cells_list *cells_list_of(struct cells *cells, enum cells_kind kind,
                                               uint32_t units)
{
    return &cells->lists[kind - 1][units - 1];
}

/* In which size an object lies. */
static inline uint32_t cells_units_of(enum cells_kind kind, size_t bytes)
{
    enum { CACHE_LINE = 64 };
    size_t step = kind == CELLS_SESSIONS ? CACHE_LINE : CELLS_UNIT_BYTES;
    return (uint32_t)((bytes + step - 1) / step * (step / CELLS_UNIT_BYTES));
}

static inline void cells_put_free(struct cells *cells, struct cells_list *list, void *cell,
                                  uint32_t units)
{
    struct free_cell *freed = cell;
    freed->next = list->free;
    list->free = cells_number_of(cells, cell);
    POISON_ON(cell, (size_t)units * CELLS_UNIT_BYTES);
    (void)units;
}

#endif
