/* Memory for objects of a few cache lines each that are named by a number instead of a pointer: one
 * range of addresses in which nothing ever moves, left out of core dumps. What is given back is
 * wiped and used again. One thread. */
#ifndef BASE_CELLS_H
#define BASE_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    CELLS_UNIT_BYTES = 64, /* a cache line; objects are whole numbers of them */
    CELLS_UNITS_MAX = 16,  /* of one object */
};
#define CELLS_NONE UINT32_MAX

struct cells {
    uint8_t *base;
    uint32_t units_max;              /* that fit into the range */
    uint32_t usable;                 /* units of it that the system has given us */
    uint32_t fresh;                  /* first one that was never used */
    uint32_t free[CELLS_UNITS_MAX];  /* by size in units less one: first of a list */
    uint32_t taken[CELLS_UNITS_MAX]; /* by the same: objects */
};

/* Reserves addresses for `units_max` units; memory is taken as it is needed. False: the system has
 * not got as many addresses for us. */
bool cells_init(struct cells *cells, uint32_t units_max, struct err *err) MUST_USE;
/* Wipes and gives back all of it. */
void cells_deinit(struct cells *cells);

/* The number of a zeroed object of so many bytes, or CELLS_NONE: out of memory. */
uint32_t cells_take(struct cells *cells, size_t bytes) MUST_USE;
/* `bytes` as it was taken. */
void cells_give(struct cells *cells, uint32_t number, size_t bytes);

static inline void *cells_at(const struct cells *cells, uint32_t number)
{
    return cells->base + (size_t)number * CELLS_UNIT_BYTES;
}
static inline uint32_t cells_number_of(const struct cells *cells, const void *object)
{
    return (uint32_t)((size_t)((const uint8_t *)object - cells->base) / CELLS_UNIT_BYTES);
}

size_t cells_bytes_taken(const struct cells *cells);

#endif
