/* Taking over the slots that a process before has left in the state: everything that slots.c knows
 * is rebuilt from what stands in each slot. It may have had another number of workers. One worker's
 * thread. */
#ifndef SLOTS_ADOPT_H
#define SLOTS_ADOPT_H

#include "backend/slots.h"

/* After slots_init(), before anything else. What makes no sense becomes a noisy tombstone, of which
 * nobody knows why. A mark (see backend.h) that had come back is 0 from now on, another one is
 * state.mark_base + 1, and *is_mark_missing is set then. False: out of memory. */
bool slots_adopt(struct slots *slots, uint64_t now_ms, bool *is_mark_missing,
                 struct err *err) MUST_USE;

/* Its owner is there. False if the slot is not his, or was claimed before. */
bool slots_adopt_claim(struct slots *slots, uint32_t slot, uint32_t owner, uint32_t listener);

/* Those that nobody has claimed become tombstones, for that reason. Returns how many. */
uint32_t slots_adopt_end(struct slots *slots, enum close_reason reason, uint64_t now_ms);

#endif
