#include "base/cells.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/poison.h"

/* So much at once is asked of the system. */
enum { STEP_BYTES = 1 << 20, STEP_UNITS = STEP_BYTES / CELLS_UNIT_BYTES };

struct free_cell {
    uint32_t next;
};

static size_t range_bytes(const struct cells *cells)
{
    return (size_t)cells->units_max * CELLS_UNIT_BYTES;
}

bool cells_init(struct cells *cells, uint32_t units_max, struct err *err)
{
    *cells = (struct cells){.units_max = (units_max + STEP_UNITS - 1) / STEP_UNITS * STEP_UNITS};
    memset(cells->free, 0xff, sizeof(cells->free)); /* CELLS_NONE */
    size_t bytes = range_bytes(cells);
    void *map = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || madvise(map, bytes, MADV_DONTDUMP) != 0) {
        int error = errno;
        if (map != MAP_FAILED)
            munmap(map, bytes);
        cells->units_max = 0;
        return err_set(
            err,
            "%zu MiB of addresses for sessions: %s (ulimit -v; a smaller max_sessions needs fewer)",
            bytes >> 20, strerror(error));
    }
    cells->base = map;
    POISON_REGISTER(map, bytes); /* of it, the leak check reads what is readable */
    return true;
}

void cells_deinit(struct cells *cells)
{
    if (cells->base == NULL)
        return;
    size_t used = (size_t)cells->fresh * CELLS_UNIT_BYTES;
    POISON_OFF(cells->base, (size_t)cells->usable * CELLS_UNIT_BYTES);
    POISON_UNREGISTER(cells->base, range_bytes(cells));
    bytes_wipe(cells->base, used);
    munmap(cells->base, range_bytes(cells));
    *cells = (struct cells){0};
}

static bool add_step(struct cells *cells)
{
    uint8_t *at = cells_at(cells, cells->usable);
    if (cells->usable == cells->units_max || mprotect(at, STEP_BYTES, PROT_READ | PROT_WRITE) != 0)
        return false;
    cells->usable += STEP_UNITS;
    POISON_ON(at, STEP_BYTES);
    return true;
}

static uint32_t take_fresh(struct cells *cells, uint32_t units)
{
    if (cells->usable - cells->fresh < units && !add_step(cells))
        return CELLS_NONE;
    uint32_t number = cells->fresh;
    cells->fresh += units;
    return number;
}

static uint32_t units_of(size_t bytes)
{
    assert(bytes != 0 && bytes <= (size_t)CELLS_UNITS_MAX * CELLS_UNIT_BYTES);
    return (uint32_t)((bytes + CELLS_UNIT_BYTES - 1) / CELLS_UNIT_BYTES);
}

uint32_t cells_take(struct cells *cells, size_t bytes)
{
    uint32_t units = units_of(bytes), *list = &cells->free[units - 1];
    uint32_t number = *list;
    if (number == CELLS_NONE) {
        number = take_fresh(cells, units);
        if (number == CELLS_NONE)
            return CELLS_NONE;
        POISON_OFF(cells_at(cells, number), (size_t)units * CELLS_UNIT_BYTES);
    } else {
        struct free_cell *cell = cells_at(cells, number);
        POISON_OFF(cell, (size_t)units * CELLS_UNIT_BYTES);
        *list = cell->next;
        cell->next = 0; /* the rest was wiped */
    }
    cells->taken[units - 1]++;
    return number;
}

void cells_give(struct cells *cells, uint32_t number, size_t bytes)
{
    uint32_t units = units_of(bytes);
    struct free_cell *cell = cells_at(cells, number);
    assert(cells->taken[units - 1] != 0);
    bytes_wipe(cell, (size_t)units * CELLS_UNIT_BYTES);
    cell->next = cells->free[units - 1];
    cells->free[units - 1] = number;
    cells->taken[units - 1]--;
    POISON_ON(cell, (size_t)units * CELLS_UNIT_BYTES);
}

size_t cells_bytes_taken(const struct cells *cells)
{
    size_t sum = 0;
    for (size_t i = 0; i < CELLS_UNITS_MAX; i++)
        sum += cells->taken[i] * (i + 1) * CELLS_UNIT_BYTES;
    return sum;
}
