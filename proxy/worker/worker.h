/* One worker: a thread with its own event loop, its sockets and a datapath. Nothing that changes is
 * shared with another worker. The sockets are the main thread's, which opens and closes them. */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "count/counters.h"
#include "net/udp.h"
#include "worker/worker_settings.h"

struct datapath;
struct worker;

/* No thread yet. NULL with err if that fails. The caller owns the result. */
struct worker *worker_open(const struct worker_settings *settings, struct err *err) MUST_USE;

/* A batch that arrived at the address when another process, with other workers, had the sockets;
 * bound = NULL: from the backends. Before the thread is started. */
void worker_give(struct worker *worker, const struct addr *bound, const struct udp_in *batch);

/* Starts the thread. confine: what it is to call first, to give up what it does not need; or NULL.
 */
bool worker_start(struct worker *worker, void (*confine)(void), struct err *err) MUST_USE;

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

/* ---- other settings -------------------------------------------------------------------------- */

/* One at a time. False: out of memory, and nothing will happen. */
bool worker_ask_to_swap(struct worker *worker, struct worker_swap *swap) MUST_USE;

/* ---------------------------------------------------------------------------------------------- */

struct inquiry;

/* Mails an inquiry; from any thread. False: out of memory, and it is still the caller's. */
bool worker_ask(struct worker *worker, struct inquiry *inquiry) MUST_USE;

const struct worker_counters *worker_counters(const struct worker *worker);

/* Before the thread is started: for taking over what a process before has left. */
struct datapath *worker_datapath(struct worker *worker);

#endif
