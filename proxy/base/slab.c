#include "base/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/poison.h"

/* Pages that were never touched cost nothing, so a large block does not harm a small fleet. */
enum { BLOCK_BYTES = 1 << 20, ALIGNMENT = 16, CELL_MAX_BYTES = 1 << 16 };

struct slab_block {
    _Alignas(ALIGNMENT) struct slab_block *next;
};

struct free_cell {
    struct free_cell *next;
};

static size_t cells_per_block(const struct slab *slab)
{
    return (BLOCK_BYTES - sizeof(struct slab_block)) / slab->cell_bytes;
}

static void *cell_at(const struct slab *slab, size_t index)
{
    return (char *)slab->blocks + sizeof(struct slab_block) + index * slab->cell_bytes;
}

void slab_init(struct slab *slab, size_t object_bytes)
{
    size_t cell_bytes = (object_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    assert(cell_bytes != 0 && cell_bytes <= CELL_MAX_BYTES);
    *slab = (struct slab){.cell_bytes = cell_bytes};
}

void slab_deinit(struct slab *slab)
{
    while (slab->blocks != NULL) {
        struct slab_block *block = slab->blocks;
        size_t used = cells_per_block(slab) - slab->fresh;
        POISON_OFF(block, BLOCK_BYTES);
        bytes_wipe(cell_at(slab, 0), used * slab->cell_bytes);
        slab->blocks = block->next;
        slab->fresh = 0; /* the others are full */
        POISON_UNREGISTER(block, BLOCK_BYTES);
        munmap(block, BLOCK_BYTES);
    }
    *slab = (struct slab){.cell_bytes = slab->cell_bytes};
}

static bool add_block(struct slab *slab)
{
    void *map = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    if (madvise(map, BLOCK_BYTES, MADV_DONTDUMP) != 0) {
        munmap(map, BLOCK_BYTES);
        return false;
    }
    struct slab_block *block = map;
    block->next = slab->blocks;
    slab->blocks = block;
    slab->fresh = cells_per_block(slab);
    POISON_REGISTER(block, BLOCK_BYTES);
    POISON_ON(cell_at(slab, 0), slab->fresh * slab->cell_bytes);
    return true;
}

void *slab_take(struct slab *slab)
{
    struct free_cell *cell = slab->free;
    if (cell == NULL) {
        if (slab->fresh == 0 && !add_block(slab))
            return NULL;
        cell = cell_at(slab, cells_per_block(slab) - slab->fresh);
        slab->fresh--;
        POISON_OFF(cell, slab->cell_bytes);
    } else {
        POISON_OFF(cell, slab->cell_bytes);
        slab->free = cell->next;
        cell->next = NULL; /* the rest was wiped */
    }
    slab->taken++;
    return cell;
}

void slab_give(struct slab *slab, void *cell)
{
    if (cell == NULL)
        return;
    assert(slab->taken != 0);
    bytes_wipe(cell, slab->cell_bytes);
    struct free_cell *freed = cell;
    freed->next = slab->free;
    slab->free = freed;
    slab->taken--;
    POISON_ON(cell, slab->cell_bytes);
}

/* ---- of any size ---------------------------------------------------------------------------- */

enum { SIZES = SLABS_MAX_BYTES / SLABS_STEP_BYTES };

void slabs_init(struct slabs *slabs)
{
    for (size_t i = 0; i < SIZES; i++)
        slab_init(&slabs->by_size[i], (i + 1) * SLABS_STEP_BYTES);
}

void slabs_deinit(struct slabs *slabs)
{
    for (size_t i = 0; i < SIZES; i++)
        slab_deinit(&slabs->by_size[i]);
}

static struct slab *slab_for(struct slabs *slabs, size_t bytes)
{
    assert(bytes != 0);
    return &slabs->by_size[(bytes - 1) / SLABS_STEP_BYTES];
}

void *slabs_take(struct slabs *slabs, size_t bytes)
{
    return bytes <= SLABS_MAX_BYTES ? slab_take(slab_for(slabs, bytes)) : NULL;
}

void slabs_give(struct slabs *slabs, void *cell, size_t bytes)
{
    if (cell != NULL)
        slab_give(slab_for(slabs, bytes), cell);
}

size_t slabs_bytes_taken(const struct slabs *slabs)
{
    size_t sum = 0;
    for (size_t i = 0; i < SIZES; i++)
        sum += slabs->by_size[i].taken * slabs->by_size[i].cell_bytes;
    return sum;
}
