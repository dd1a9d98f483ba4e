#include "base/log_ring.h"

#include <stddef.h>
#include <string.h>

/* Takes the place of line number *at for the caller alone; NULL if the oldest line is still in it.
 */
static struct log_ring_line *reserve(struct log_ring *ring, uint64_t *at)
{
    *at = atomic_load_explicit(&ring->next, memory_order_relaxed);
    for (;;) {
        struct log_ring_line *line = &ring->lines[*at % LOG_RING_LINES];
        uint64_t free_turn = *at / LOG_RING_LINES * 2;
        uint64_t turn = atomic_load_explicit(&line->turn, memory_order_acquire);
        if (turn < free_turn)
            return NULL;
        if (turn > free_turn) /* another thread was faster */
            *at = atomic_load_explicit(&ring->next, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&ring->next, at, *at + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            return line;
    }
}

bool log_ring_put(struct log_ring *ring, const char *text, uint32_t size)
{
    uint64_t at;
    struct log_ring_line *line = reserve(ring, &at);
    if (line == NULL) {
        atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
        return false;
    }
    line->lost_before = atomic_load_explicit(&ring->lost, memory_order_relaxed);
    line->size = size;
    memcpy(line->text, text, size);
    atomic_store_explicit(&line->turn, at / LOG_RING_LINES * 2 + 1, memory_order_release);
    return true;
}

const struct log_ring_line *log_ring_first(const struct log_ring *ring)
{
    const struct log_ring_line *line = &ring->lines[ring->first % LOG_RING_LINES];
    uint64_t full_turn = ring->first / LOG_RING_LINES * 2 + 1;
    return atomic_load_explicit(&line->turn, memory_order_acquire) == full_turn ? line : NULL;
}

void log_ring_drop(struct log_ring *ring)
{
    struct log_ring_line *line = &ring->lines[ring->first % LOG_RING_LINES];
    atomic_store_explicit(&line->turn, ring->first / LOG_RING_LINES * 2 + 2, memory_order_release);
    ring->first++;
}
