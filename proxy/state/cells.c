#include "state/cells.h"

#include "base/bytes.h"
#include "base/order.h"
#include "state/cells_inside.h"

void cells_init(struct cells *cells, struct region *region)
{
    *cells = (struct cells){.region = region};
    for (int kind = 0; kind < CELLS_KINDS; kind++)
        for (int i = 0; i < CELLS_SIZES; i++)
            cells->lists[kind][i].free = CELLS_NONE;
}

static void note_chunk(struct region *region, uint32_t chunk)
{
    uint32_t end = atomic_load(&region->chunk_end);
    while (end <= chunk && !atomic_compare_exchange_weak(&region->chunk_end, &end, chunk + 1))
        continue;
    atomic_store(&region->first_chunk, chunk + 1);
}

/* The number of a chunk that is this worker's from now on. The memory is there before the directory
 * says so: who takes the region over believes it. */
static uint32_t add_chunk(struct region *region, uint32_t entry)
{
    _Atomic uint32_t *directory = cells_directory(region);
    uint32_t chunk = atomic_load(&region->first_chunk);
    for (; chunk < LAYOUT_CHUNKS_MAX; chunk++) {
        uint32_t unused = 0;
        if (atomic_load(&directory[chunk]) != 0)
            continue;
        if (!region_need(region, cells_chunk_at(chunk), LAYOUT_CHUNK_BYTES))
            return CELLS_NONE;
        if (atomic_compare_exchange_strong(&directory[chunk], &unused, entry))
            break; /* else another worker was faster */
    }
    if (chunk == LAYOUT_CHUNKS_MAX)
        return CELLS_NONE;
    note_chunk(region, chunk);
    return chunk;
}

static bool add_fresh(struct cells *cells, struct cells_list *list, enum cells_kind kind,
                      uint32_t units)
{
    uint32_t chunk = add_chunk(cells->region, cells_entry(kind, units));
    if (chunk == CELLS_NONE)
        return false;
    list->fresh = (uint32_t)(cells_chunk_at(chunk) / CELLS_UNIT_BYTES);
    list->fresh_left = LAYOUT_CHUNK_BYTES / CELLS_UNIT_BYTES / units;
    POISON_ON(cells_at(cells, list->fresh), LAYOUT_CHUNK_BYTES);
    return true;
}

void *cells_take(struct cells *cells, enum cells_kind kind, size_t bytes)
{
    assert(bytes != 0);
    if (bytes > CELLS_MAX_BYTES)
        return NULL;
    uint32_t units = cells_units_of(kind, bytes);
    struct cells_list *list = cells_list_of(cells, kind, units);
    struct free_cell *cell;
    if (list->free != CELLS_NONE) {
        cell = cells_at(cells, list->free);
        POISON_OFF(cell, (size_t)units * CELLS_UNIT_BYTES);
        list->free = cell->next;
        cell->next = 0; /* the rest was wiped */
    } else {
        if (list->fresh_left == 0 && !add_fresh(cells, list, kind, units))
            return NULL;
        cell = cells_at(cells, list->fresh);
        POISON_OFF(cell, (size_t)units * CELLS_UNIT_BYTES);
        list->fresh += units;
        list->fresh_left--;
    }
    list->taken++;
    order_stores(); /* it is zero before anything in the region refers to it */
    return cell;
}

void cells_give(struct cells *cells, enum cells_kind kind, void *cell, size_t bytes)
{
    if (cell == NULL)
        return;
    uint32_t units = cells_units_of(kind, bytes);
    struct cells_list *list = cells_list_of(cells, kind, units);
    assert(list->taken != 0);
    bytes_wipe(cell, (size_t)units * CELLS_UNIT_BYTES);
    cells_put_free(cells, list, cell, units);
    list->taken--;
}

size_t cells_bytes_of(const struct cells *cells, enum cells_kind kind)
{
    size_t sum = 0;
    for (size_t i = 0; i < CELLS_SIZES; i++)
        sum += cells->lists[kind - 1][i].taken * (i + 1) * CELLS_UNIT_BYTES;
    return sum;
}

size_t cells_bytes_taken(const struct cells *cells)
{
    return cells_bytes_of(cells, CELLS_SESSIONS) + cells_bytes_of(cells, CELLS_PIECES);
}
