/* Memory for many objects of one size, without anything around each of them: in mapped blocks of
 * their own, left out of core dumps. What is given back is wiped and used again; blocks are given
 * back to the system at the end only. One thread. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct slab_block;

/* Zeroed but for cell_bytes = empty. */
struct slab {
    size_t cell_bytes;         /* a multiple of 16, at most 64 KiB */
    struct slab_block *blocks; /* the first one is in use, the others are full */
    void *free;                /* a list */
    size_t fresh;              /* cells of the first block that were never used */
    size_t taken;
};

void slab_init(struct slab *slab, size_t object_bytes);
/* Wipes and gives back all of it; whoever still has a cell must not use it any more. */
void slab_deinit(struct slab *slab);

/* A zeroed cell, or NULL if out of memory. */
void *slab_take(struct slab *slab);
/* NULL is harmless. */
void slab_give(struct slab *slab, void *cell);

/* The same for objects of any size up to a bound. */
#define SLABS_MAX_BYTES 2048
#define SLABS_STEP_BYTES 16

struct slabs {
    struct slab by_size[SLABS_MAX_BYTES / SLABS_STEP_BYTES];
};

void slabs_init(struct slabs *slabs);
void slabs_deinit(struct slabs *slabs);
/* NULL also if it is larger than the bound. */
void *slabs_take(struct slabs *slabs, size_t bytes);
/* `bytes` as it was taken. NULL is harmless. */
void slabs_give(struct slabs *slabs, void *cell, size_t bytes);
size_t slabs_bytes_taken(const struct slabs *slabs);

#endif
