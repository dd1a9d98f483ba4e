#include "state/cells_adopt.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "state/cells_inside.h"

enum {
    CHUNK_UNITS = LAYOUT_CHUNK_BYTES / CELLS_UNIT_BYTES,
    SESSION_UNITS = 64 / CELLS_UNIT_BYTES, /* sessions are whole cache lines */
};

/* Addresses only: memory is taken for chunks that are in use. */
#define CLAIMED_BYTES ((size_t)LAYOUT_CHUNKS_MAX * CHUNK_UNITS / 8)

/* ---- beginning and end ---------------------------------------------------------------------- */

static bool is_entry(uint32_t entry)
{
    enum cells_kind kind = cells_entry_kind(entry);
    uint32_t units = cells_entry_units(entry);
    return (kind == CELLS_SESSIONS || kind == CELLS_PIECES) && units >= 1 && units <= CELLS_SIZES &&
           (kind != CELLS_SESSIONS || units % SESSION_UNITS == 0);
}

/* In a state that comes from a file what is zero has none. */
static bool has_memory(const struct region *region, size_t at)
{
    return region_next_used(region, at) < at + LAYOUT_CHUNK_BYTES;
}

/* False: out of memory. */
static bool look_at_chunk(struct region *region, uint32_t chunk)
{
    _Atomic uint32_t *entry = &cells_directory(region)[chunk];
    size_t at = cells_chunk_at(chunk);
    if (is_entry(atomic_load(entry)) && has_memory(region, at))
        return region_need(region, at, LAYOUT_CHUNK_BYTES);
    atomic_store(entry, 0);
    return true;
}

/* The directory first, then memory that it knows nothing of: keys may lie there. */
static bool look_at_all(struct cells_adopt *adopt)
{
    struct region *region = adopt->region;
    const _Atomic uint32_t *directory = cells_directory(region);
    for (uint32_t chunk = 0; chunk < LAYOUT_CHUNKS_MAX; chunk++) {
        if (atomic_load(&directory[chunk]) == 0)
            continue;
        if (!look_at_chunk(region, chunk))
            return false;
        if (atomic_load(&directory[chunk]) != 0)
            adopt->chunk_end = chunk + 1;
    }
    for (size_t at = region_next_used(region, LAYOUT_CHUNKS_AT); at < region->bytes;
         at = region_next_used(region, at)) {
        uint32_t chunk = (uint32_t)((at - LAYOUT_CHUNKS_AT) / LAYOUT_CHUNK_BYTES);
        at = cells_chunk_at(chunk);
        if (atomic_load(&directory[chunk]) == 0)
            region_give(region, at, LAYOUT_CHUNK_BYTES);
        at += LAYOUT_CHUNK_BYTES;
    }
    return true;
}

void cells_adopt_end(struct cells_adopt *adopt)
{
    if (adopt->claimed != NULL)
        munmap((void *)adopt->claimed, CLAIMED_BYTES);
    *adopt = (struct cells_adopt){0};
}

bool cells_adopt_begin(struct cells_adopt *adopt, struct region *region, struct err *err)
{
    *adopt = (struct cells_adopt){.region = region};
    void *map = mmap(NULL, CLAIMED_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return err_set(err, "out of memory for taking over the state: %s", strerror(errno));
    adopt->claimed = map;
    if (!look_at_all(adopt)) {
        cells_adopt_end(adopt);
        return err_set(err, "out of memory for the sessions of the state");
    }
    atomic_store(&region->first_chunk, 0);
    atomic_store(&region->chunk_end, adopt->chunk_end);
    return true;
}

void cells_adopt_look(struct cells_adopt *adopt, struct region *region)
{
    const _Atomic uint32_t *directory = cells_directory(region);
    *adopt = (struct cells_adopt){.region = region, .chunk_end = LAYOUT_CHUNKS_MAX};
    while (adopt->chunk_end > 0 && atomic_load(&directory[adopt->chunk_end - 1]) == 0)
        adopt->chunk_end--;
}

/* ---- cells ---------------------------------------------------------------------------------- */

static uint32_t entry_of(const struct cells_adopt *adopt, uint32_t chunk)
{
    return atomic_load_explicit(&cells_directory(adopt->region)[chunk], memory_order_relaxed);
}

/* The first cell of the next chunk of that kind, from this one on. */
static void *first_from(const struct cells_adopt *adopt, enum cells_kind kind, uint32_t chunk)
{
    for (; chunk < adopt->chunk_end; chunk++)
        if (cells_entry_kind(entry_of(adopt, chunk)) == kind && is_entry(entry_of(adopt, chunk)))
            return adopt->region->base + cells_chunk_at(chunk);
    return NULL;
}

static uint32_t chunk_of(const struct cells_adopt *adopt, const void *cell)
{
    size_t at = (size_t)((const uint8_t *)cell - adopt->region->base);
    return (uint32_t)((at - LAYOUT_CHUNKS_AT) / LAYOUT_CHUNK_BYTES);
}

void *cells_adopt_next(const struct cells_adopt *adopt, enum cells_kind kind, const void *cell)
{
    if (cell == NULL)
        return first_from(adopt, kind, 0);
    uint32_t chunk = chunk_of(adopt, cell);
    size_t bytes = (size_t)cells_entry_units(entry_of(adopt, chunk)) * CELLS_UNIT_BYTES;
    size_t next = (size_t)((const uint8_t *)cell - adopt->region->base) + bytes;
    if (next + bytes <= cells_chunk_at(chunk + 1))
        return adopt->region->base + next;
    return first_from(adopt, kind, chunk + 1);
}

size_t cells_adopt_bytes(const struct cells_adopt *adopt, enum cells_kind kind, const void *cell)
{
    uintptr_t begin = (uintptr_t)adopt->region->base + LAYOUT_CHUNKS_AT, at = (uintptr_t)cell;
    if (at < begin || at >= begin + (size_t)adopt->chunk_end * LAYOUT_CHUNK_BYTES)
        return 0;
    uint32_t entry = entry_of(adopt, chunk_of(adopt, cell));
    if (cells_entry_kind(entry) != kind)
        return 0;
    size_t bytes = (size_t)cells_entry_units(entry) * CELLS_UNIT_BYTES;
    size_t in_chunk = (at - begin) % LAYOUT_CHUNK_BYTES;
    return in_chunk % bytes == 0 && in_chunk + bytes <= LAYOUT_CHUNK_BYTES ? bytes : 0;
}

/* ---- claiming ------------------------------------------------------------------------------- */

static _Atomic uint64_t *word_of(const struct cells_adopt *adopt, const void *cell, uint64_t *bit)
{
    size_t at = (size_t)((const uint8_t *)cell - adopt->region->base) - LAYOUT_CHUNKS_AT;
    size_t unit = at / CELLS_UNIT_BYTES;
    *bit = (uint64_t)1 << unit % 64;
    return &adopt->claimed[unit / 64];
}

bool cells_adopt_claim(struct cells_adopt *adopt, struct cells *cells, enum cells_kind kind,
                       const void *cell)
{
    uint64_t bit;
    _Atomic uint64_t *word = word_of(adopt, cell, &bit);
    if ((atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit) != 0)
        return false;
    uint32_t units = cells_entry_units(entry_of(adopt, chunk_of(adopt, cell)));
    cells_list_of(cells, kind, units)->taken++;
    return true;
}

void cells_adopt_unclaim(struct cells_adopt *adopt, struct cells *cells, enum cells_kind kind,
                         const void *cell)
{
    uint64_t bit;
    _Atomic uint64_t *word = word_of(adopt, cell, &bit);
    atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed);
    uint32_t units = cells_entry_units(entry_of(adopt, chunk_of(adopt, cell)));
    cells_list_of(cells, kind, units)->taken--;
}

/* ---- what is left --------------------------------------------------------------------------- */

static bool is_claimed(const struct cells_adopt *adopt, const void *cell)
{
    uint64_t bit;
    return (atomic_load_explicit(word_of(adopt, cell, &bit), memory_order_relaxed) & bit) != 0;
}

static bool is_any_claimed(const struct cells_adopt *adopt, uint32_t chunk)
{
    const _Atomic uint64_t *words = &adopt->claimed[(size_t)chunk * CHUNK_UNITS / 64];
    for (int i = 0; i < CHUNK_UNITS / 64; i++)
        if (atomic_load_explicit(&words[i], memory_order_relaxed) != 0)
            return true;
    return false;
}

static void sweep_chunk(struct cells_adopt *adopt, struct cells *cells, uint32_t chunk)
{
    uint32_t entry = entry_of(adopt, chunk), units = cells_entry_units(entry);
    size_t bytes = (size_t)units * CELLS_UNIT_BYTES;
    struct cells_list *list = cells_list_of(cells, cells_entry_kind(entry), units);
    uint8_t *at = cells->region->base + cells_chunk_at(chunk), *end = at + LAYOUT_CHUNK_BYTES;
    for (; at + bytes <= end; at += bytes) {
        if (is_claimed(adopt, at))
            continue;
        bytes_wipe(at, bytes);
        cells_put_free(cells, list, at, units);
    }
}

/* A chunk of which nothing is left is one of any size again. It may be taken at once, so it is out
 * of the directory last. */
static void give_chunk(struct cells_adopt *adopt, uint32_t chunk)
{
    region_give(adopt->region, cells_chunk_at(chunk), LAYOUT_CHUNK_BYTES);
    atomic_store(&cells_directory(adopt->region)[chunk], 0);
    uint32_t first = atomic_load(&adopt->region->first_chunk);
    while (first > chunk &&
           !atomic_compare_exchange_weak(&adopt->region->first_chunk, &first, chunk))
        continue;
}

void cells_adopt_sweep(struct cells_adopt *adopt, struct cells *cells, uint32_t worker,
                       uint32_t worker_count)
{
    for (uint32_t chunk = worker; chunk < adopt->chunk_end; chunk += worker_count) {
        if (entry_of(adopt, chunk) == 0)
            continue;
        if (is_any_claimed(adopt, chunk))
            sweep_chunk(adopt, cells, chunk);
        else
            give_chunk(adopt, chunk);
    }
}
