#include "base/log_ring.h"

#include <assert.h>
#include <string.h>

static struct log_ring_piece *piece_at(struct log_ring *ring, uint64_t at)
{
    return &ring->pieces[at % LOG_RING_PIECES];
}

/* The turn of a free piece. */
static uint64_t free_turn(uint64_t at)
{
    return at / LOG_RING_PIECES * 2;
}

static uint64_t count_pieces(uint32_t size)
{
    return (size + LOG_RING_PIECE_BYTES - 1) / LOG_RING_PIECE_BYTES;
}

/* Takes the pieces from *at on for the caller alone; false if the last of them is not free. Pieces
 * become free in order, so those before it are free then. */
static bool reserve(struct log_ring *ring, uint64_t count, uint64_t *at)
{
    *at = atomic_load_explicit(&ring->next, memory_order_relaxed);
    for (;;) {
        uint64_t last = *at + count - 1;
        if (atomic_load_explicit(&piece_at(ring, last)->turn, memory_order_acquire) <
            free_turn(last))
            return false;
        /* Fails if another thread was faster. */
        if (atomic_compare_exchange_weak_explicit(&ring->next, at, *at + count,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
}

bool log_ring_put(struct log_ring *ring, const char *text, uint32_t size)
{
    uint64_t begin, count = count_pieces(size);
    assert(size > 0 && size <= LOG_RING_LINE_BYTES);
    if (!reserve(ring, count, &begin)) {
        atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
        return false;
    }
    struct log_ring_piece *first = piece_at(ring, begin);
    first->lost_before = atomic_load_explicit(&ring->lost, memory_order_relaxed);
    first->size = size;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t done = (uint32_t)i * LOG_RING_PIECE_BYTES;
        uint32_t part = size - done < LOG_RING_PIECE_BYTES ? size - done : LOG_RING_PIECE_BYTES;
        memcpy(piece_at(ring, begin + i)->text, text + done, part);
    }
    atomic_store_explicit(&first->turn, free_turn(begin) + 1, memory_order_release);
    return true;
}

bool log_ring_take(struct log_ring *ring, struct log_ring_line *line)
{
    const struct log_ring_piece *first = piece_at(ring, ring->first);
    if (atomic_load_explicit(&first->turn, memory_order_acquire) != free_turn(ring->first) + 1)
        return false;
    line->lost_before = first->lost_before;
    line->size = first->size;
    uint64_t count = count_pieces(line->size);
    for (uint64_t i = 0; i < count; i++) {
        struct log_ring_piece *piece = piece_at(ring, ring->first + i);
        uint32_t done = (uint32_t)i * LOG_RING_PIECE_BYTES, left = line->size - done;
        memcpy(line->text + done, piece->text,
               left < LOG_RING_PIECE_BYTES ? left : LOG_RING_PIECE_BYTES);
        atomic_store_explicit(&piece->turn, free_turn(ring->first + i) + 2, memory_order_release);
    }
    ring->first += count;
    return true;
}
