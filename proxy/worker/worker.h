/* One worker: a thread with its own event loop, listening sockets and datapath. Nothing that
 * changes is shared with another worker. */
#ifndef WORKER_H
#define WORKER_H

#include <stdint.h>

#include "base/err.h"
#include "count/counters.h"
#include "creds/generation.h"
#include "session/identities.h"
#include "state/state.h"

/* How often a worker shows in its counters that it goes round its loop, even if no datagram comes.
 */
enum { WORKER_BEAT_MS = 1000 };

struct datapath;
struct worker;

/* Opens the sockets of worker `index` of `count`; no thread yet. NULL with err if that fails. The
 * caller owns the result. Workers must be opened in order: their sockets are numbered by it. first:
 * the first one, for the others; NULL for itself. */
struct worker *worker_open(struct generation *generation, struct state *state,
                           struct identities *identities, const struct worker *first,
                           uint32_t index, uint32_t count, struct err *err) MUST_USE;

/* Opens a second socket for the ClientHellos of each address and worker, and has the kernel steer
 * by the rule of steering.h. All `count` workers must be open, none started. Without it there must
 * be one worker only, whose sessions share a queue with strangers. */
bool worker_steer(struct worker *const *workers, uint32_t count, struct err *err) MUST_USE;

/* Starts the thread. */
bool worker_start(struct worker *worker, struct err *err) MUST_USE;

enum worker_end {
    WORKER_SAYS_FAREWELL = 1, /* every session ends, and its device is told */
    /* Sessions stay in the state, for the next process; nothing is read any more, what comes waits
     * in the sockets. Handshakes in progress end. */
    WORKER_LEAVES_SESSIONS,
};

/* Asks the thread to end; from any thread, returns at once. Who asks again changes nothing. */
void worker_ask_to_stop(struct worker *worker, enum worker_end end);

/* From now on ClientHellos wait in their sockets, where they have sockets of their own; handshakes
 * in progress and sessions go on. From any thread, returns at once. */
void worker_hold_hellos(struct worker *worker);

/* Waits for the end of the thread, if it was started, until deadline_ms of CLOCK_MONOTONIC. False
 * if it has not ended: it hangs, and nothing of it can be freed. */
bool worker_join(struct worker *worker, uint64_t deadline_ms) MUST_USE;

/* Joins however long it takes, then frees everything. NULL is harmless. */
void worker_close(struct worker *worker);

struct inquiry;

/* Mails an inquiry; from any thread. False: out of memory, and it is still the caller's. */
bool worker_ask(struct worker *worker, struct inquiry *inquiry) MUST_USE;

const struct worker_counters *worker_counters(const struct worker *worker);

/* Before the thread is started: for taking over what a process before has left. */
struct datapath *worker_datapath(struct worker *worker);

#endif
