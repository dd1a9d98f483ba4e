/* Going on with the sessions that a process before has left, however it has ended. What stands in
 * the region may be garbage: whatever makes no sense is dropped, and nothing of it is followed.
 *
 * What a session needs stays where it is; tables, timers, the order and the identities are made
 * anew. A session belongs to the worker that its slot says, so there may be another number of
 * workers than before. One that a process was killed over while it changed is dropped (close reason
 * `torn`), the end of one that was ending is completed; in both cases the slot becomes a tombstone.
 * Of two that claim the same, the later one stays. One whose listener is gone, or looks for
 * connection IDs of another length now, or which is of DTLS 1.3 and another machine, is dropped
 * under a reason of its own. */
#ifndef SESSIONS_ADOPT_H
#define SESSIONS_ADOPT_H

#include "session/session_store.h"
#include "state/cells_adopt.h"

/* One in the process. Zeroed = not begun. */
struct sessions_adopt {
    struct cells_adopt cells;
    /* The state came from a file, so that somebody else may have gone on from the same; and whether
     * that was written on this machine, since the sessions of DTLS 1.3 are of no use elsewhere
     * (C10). */
    bool is_copy, is_same_machine;
};

/* What became of the sessions of one worker. */
struct sessions_adopted {
    uint32_t kept;
    uint32_t torn;
    uint32_t ended;              /* their end was completed */
    uint32_t removed;            /* their listener is none any more */
    uint32_t cid_length_changed; /* their connection IDs are of another length than its now */
    uint32_t other_machine;      /* of DTLS 1.3, from a file of another machine (C10) */
};

/* Those that have ended at this start, and are counted now. */
static inline uint32_t sessions_adopted_lost(const struct sessions_adopted *adopted)
{
    return adopted->torn + adopted->removed + adopted->cid_length_changed + adopted->other_machine;
}
/* Of several workers. */
void sessions_adopted_add(struct sessions_adopted *sum, const struct sessions_adopted *adopted);

/* The main thread, before any worker has a session. is_copy and is_same_machine: see above. */
bool sessions_adopt_begin(struct sessions_adopt *adopt, struct region *region, bool is_copy,
                          bool is_same_machine, struct err *err) MUST_USE;
/* Harmless if it was not begun. */
void sessions_adopt_end(struct sessions_adopt *adopt);

/* Of each worker, in its thread, or in any at its place, all at the same time if need be; after
 * backend_adopt(), before backend_adopt_end(). False: out of memory; what is in the region is as it
 * was, for another try. */
bool sessions_adopt(struct sessions *all, struct sessions_adopt *adopt, uint64_t now_ms,
                    struct sessions_adopted *adopted, struct err *err) MUST_USE;

/* The same, when all workers have done so: shares out the memory that nobody has claimed. */
void sessions_adopt_sweep(struct sessions *all, struct sessions_adopt *adopt);

#endif
