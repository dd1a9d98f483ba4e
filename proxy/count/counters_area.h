/* Counters in the state, so that they go on over restarts: an area has a table of names, a block of
 * inherited sums, and a block for each worker. A start makes a new area out of the old one by the
 * names of its counters: what a version adds, removes or puts elsewhere relabels nothing. Gauges
 * are not inherited: who takes over what they are of counts anew.
 *
 * Main thread, but for counters_reset(). */
#ifndef COUNTERS_AREA_H
#define COUNTERS_AREA_H

#include "count/counters.h"
#include "state/state.h"

/* One counter, of which a block has one in each listener's entry, or one in all. */
struct counters_name {
    char name[56];   /* zero behind it; may have no NUL */
    uint32_t offset; /* in the entry, or in the part that is of no listener; a multiple of 8 */
    uint8_t is_whole;
    uint8_t is_minimum; /* of the blocks the least that is not 0, else the sum */
    uint8_t unused[2];
};

_Static_assert(sizeof(struct counters_name) == LAYOUT_COUNTERS_NAME_BYTES, "layout of the state");

/* Takes over what processes before have counted, and makes blocks for so many workers, all zero,
 * with room for all listeners that the state knows. From the moment that it is complete the new
 * area is the one in use; killed before that, the next start does the same again. False: out of
 * memory. */
bool counters_area_adopt(struct state *state, uint32_t worker_count, struct err *err) MUST_USE;

/* A listener of that number may be counted from now on, by each worker. False: out of memory. */
bool counters_area_need(struct state *state, uint32_t listener) MUST_USE;

/* The counters of a worker, or, with COUNTERS_INHERITED, those of processes before. By value: its
 * turn and seen_ms are the caller's. */
#define COUNTERS_INHERITED UINT32_MAX
struct worker_counters counters_area_of(struct state *state, uint32_t worker);

/* The number of the listener is another one's from now on: what was counted is not his. Gauges stay
 * as they are. In the thread that counts there. */
void counters_reset(struct counters *counters);

#endif
