/* The state: one piece of memory, shared with nobody, that the next process takes over with all
 * sessions in it, whether this one ends, is replaced or is killed. layout.h says what lies where,
 * region.h what memory that is. This file is its header: whether a state can be taken over at all,
 * the clock, secrets, numbers. What else lies there belongs to those who write it: sessions and
 * slots, routes, counters.
 *
 * What a start does, in this order:
 *   1. main: state_create(), or state_adopt() with the descriptor that it was given;
 *      state_starts.h notes that.
 *   2. main: the settings; state_listeners.h gives listeners their numbers; secrets are the
 * state's.
 *   3. main: state_begin_workers(), then counters_area_adopt(): the sums of the processes before,
 * and a clean block for each worker.
 *   4. each worker, in parallel, before its first datagram: backend_adopt() rebuilds what is known
 *      of slots; sessions_adopt() walks over the cells, gives each session its slot back with
 *      backend_claim(), and ends those that are torn; backend_adopt_end() makes tombstones of the
 *      slots that no session has claimed. All of that may be killed at any point, and begun again.
 *   5. when all workers have done so: each sweeps the cells that nobody has claimed.
 *   6. main: sockets are read, READY.
 *
 * The main thread's, but for what is said to be of any. */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "state/layout.h"
#include "state/region.h"

/* A process's handle of it. */
struct state {
    struct region region;
    struct layout_header *header; /* in the region; NULL = closed */
    bool is_new;                  /* there was nothing to take over */
    /* Of the processes before: the largest number of a session and of a mark. */
    uint64_t number_base, mark_base;
    /* Of the latest of them, as the header had it: marks by worker, and how many workers there
     * were. */
    uint64_t marks_seen[LAYOUT_WORKERS_MAX];
    uint32_t before_count;
    pthread_mutex_t route_mutex; /* who holds it may add a route */
};

/* A new one, with new secrets. */
bool state_create(struct state *state, struct err *err) MUST_USE;

/* The one that the descriptor is of. Takes it, if true. False if this program cannot read it, if
 * another process has it, or if it is none: err says which, and nothing in it has been changed. */
bool state_adopt(struct state *state, int fd, struct err *err) MUST_USE;

/* The same for one that comes from a file, and so may be of another boot or machine: its clock goes
 * on at now_ms. Its sessions are to be renewed before anything is sent. */
bool state_adopt_from_file(struct state *state, int fd, uint64_t now_ms, bool is_same_machine,
                           struct err *err) MUST_USE;

/* Whether there may be a copy of it, with which somebody else goes on: the sessions have to be
 * renewed; and whether that was written on this machine. So it is, for this process and the next
 * ones, until state_note_renewed(). */
static inline bool state_is_copy(const struct state *state)
{
    return state->header->origin != LAYOUT_ORIGIN_MEMORY;
}
static inline bool state_is_of_this_machine(const struct state *state)
{
    return state->header->origin <= LAYOUT_ORIGIN_FILE;
}
void state_note_renewed(struct state *state);

/* For somebody who only looks, while another process has it, and changes it: it is mapped
 * read-only, and no lock is taken. The descriptor stays the caller's. False if state_adopt() could
 * not read it. */
bool state_look(struct state *state, int fd, struct err *err) MUST_USE;

/* Gives up the mapping and the lock; the memory lives on in other descriptors. Harmless for one
 * that is all zero. */
void state_close(struct state *state);

/* ---- the clock ------------------------------------------------------------------------------- */

/* Milliseconds of the gate's clock at that time of CLOCK_MONOTONIC. They differ in a state that
 * came from a file, written before a reboot or on another machine. So no time in a state ever has
 * to be rewritten. Any thread. */
static inline uint64_t state_clock_ms(const struct state *state, const struct timespec *now)
{
    return (uint64_t)now->tv_sec * 1000 + (uint64_t)now->tv_nsec / 1000000 +
           (uint64_t)state->header->clock_offset_ms;
}
uint64_t state_now_ms(const struct state *state);

/* From now on the clock shows this: before anything has a time in the state. */
void state_set_clock(struct state *state, uint64_t now_ms);

/* ---- secrets --------------------------------------------------------------------------------- */

/* LAYOUT_MASTER_BYTES of random bytes each, which cookies and a listener's tickets come from, and
 * which stay as long as the state. Borrowed; read by any thread. */
static inline uint8_t *state_cookie_master(struct state *state)
{
    return state->header->cookie_master;
}
static inline uint8_t *state_ticket_master(struct state *state, uint32_t listener)
{
    return state->header->listeners[listener].ticket_master;
}

/* ---- workers --------------------------------------------------------------------------------- */

/* The process has so many workers, and no mark of backend.h is on its way any more that it would
 * know: those of the process before are older than mark_base. */
void state_begin_workers(struct state *state, uint32_t count);

/* Numbers of handshakes and sessions, for logs, go up over all processes. Worker `worker` gives out
 * this one first, then each count-th; it notes the latest in last_number. */
uint64_t state_first_number(const struct state *state, uint32_t worker);

/* A mark with that number had come back to the process before, to the worker of that bucket. */
bool state_mark_was_seen(const struct state *state, uint32_t bucket, uint64_t mark);

static inline struct layout_worker *state_worker(struct state *state, uint32_t worker)
{
    return &state->header->workers[worker];
}

#endif
