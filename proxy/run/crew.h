/* The workers as one body: they are opened with what the process before has left, start, and end
 * together. The main thread's, but for crew_ask(). */
#ifndef CREW_H
#define CREW_H

#include "creds/generation.h"
#include "run/sockets.h"
#include "session/sessions_adopt.h"
#include "worker/worker.h"

/* Zeroed = there are none. */
struct crew {
    struct worker **workers; /* owned */
    uint32_t count;
    const struct worker_counters **counters; /* of each worker, which owns what is pointed to */
    struct worker_counters inherited;        /* what processes before have counted, in the state */
    struct identities *identities;           /* owned; shared by the workers */
};

/* One worker for each of those that the sockets are for, with its sessions of the process before,
 * of which *adopted says what became, and with what waits for them in sockets of more workers than
 * before, which are closed then. No thread yet. The arguments are borrowed, and must outlive it.
 * False with err: there are none. */
bool crew_open(struct crew *crew, struct generation *generation, struct state *state,
               struct sockets *sockets, struct sessions_adopted *adopted, struct err *err) MUST_USE;

/* Starts the threads; confine as for worker_start(). False with err: some may run, and are to be
 * stopped. */
bool crew_start(struct crew *crew, void (*confine)(void), struct err *err) MUST_USE;

/* Mails an inquiry to one of them, as worker_ask(); any thread. context: the crew, so that both fit
 * where a function and its context are wanted. */
bool crew_ask(void *context, uint32_t worker, struct inquiry *inquiry) MUST_USE;

/* From now on ClientHellos wait; see worker_hold_hellos(). */
void crew_hold_hellos(const struct crew *crew);

/* Over all workers and listeners, as they were a moment ago. */
uint64_t crew_session_count(const struct crew *crew);
uint64_t crew_handshake_count(const struct crew *crew); /* in progress */

/* Asks all to end, and waits for that until deadline_ms of CLOCK_MONOTONIC. False: *hanging does
 * not, and crew_close() must not be called. */
bool crew_stop(struct crew *crew, enum worker_end end, uint64_t deadline_ms,
               uint32_t *hanging) MUST_USE;

/* Frees all, when they have ended or were never started. Harmless if there are none. */
void crew_close(struct crew *crew);

#endif
