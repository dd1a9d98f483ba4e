/* Deadlines of many objects, in a binary heap: set and cancel O(log n), next O(1). One thread.
 * The timer is embedded in its owner; the owner is recovered with TIMER_OWNER. */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TIMERS_NONE UINT64_MAX /* "no deadline" */

#define TIMER_OWNER(timer, type, member) ((type *)((char *)(timer)-offsetof(type, member)))

static inline uint64_t timers_earlier(uint64_t a_ms, uint64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* Zeroed = not set. */
struct timer {
    uint32_t place; /* 1-based place in the heap, 0 = not in it */
};

struct timers_entry {
    uint64_t due_ms;
    struct timer *timer;
};

/* The heap is in chunks, so that nothing is copied when it grows: a million timers are 16 MB. The
 * deadlines are in it, not with the owners: who looks for the earliest one looks at the heap only.
 */
struct timers {
    struct timers_entry **chunks;
    uint32_t count, chunk_count;
};

void timers_init(struct timers *timers);
/* Timers still set are forgotten, neither called nor touched: their owners may be gone. */
void timers_deinit(struct timers *timers);

/* Makes room for `count` timers in all, so that timers_set never allocates; false if out of
 * memory. */
bool timers_reserve(struct timers *timers, uint32_t count) MUST_USE;

/* Sets or moves a timer; TIMERS_NONE cancels it. There must be room (timers_reserve): it cannot
 * fail. */
void timers_set(struct timers *timers, struct timer *timer, uint64_t due_ms);
/* Harmless if the timer is not set. */
void timers_cancel(struct timers *timers, struct timer *timer);

/* What the timer is set to, or TIMERS_NONE. */
uint64_t timers_due_ms(const struct timers *timers, const struct timer *timer);

/* The earliest deadline, or TIMERS_NONE. */
uint64_t timers_next_due_ms(const struct timers *timers);
/* Takes out one timer that is due at now_ms, earliest first; NULL if none. */
struct timer *timers_take_due(struct timers *timers, uint64_t now_ms);

#endif
