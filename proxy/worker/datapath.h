/* The way of a datagram, both directions. START HERE. One worker's thread; the worker calls these
 * functions and nothing below them, and so do the tests. */
#ifndef DATAPATH_H
#define DATAPATH_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "count/counters.h"
#include "creds/generation.h"
#include "handshake/cookie.h"
#include "handshake/handshake.h"
#include "net/udp.h"
#include "session/session.h"
#include "session/session_walk.h"
#include "session/sessions_adopt.h"
#include "state/layout.h"
#include "worker/admission.h"
#include "worker/datapath_log.h"
#include "worker/unusable_tickets.h"

struct datapath {
    struct generation *generation; /* has a reference to it */
    /* Those of the generation, by number, and those that it has not got any more, as long as
     * sessions are left that have their number. */
    const struct listener *listeners[LAYOUT_LISTENERS_MAX];
    /* While sessions are looked at after a change: has a reference to it, too; else NULL. */
    struct generation *generation_before;
    struct session_cursor swap_cursor;
    bool is_looking; /* at sessions, by the cursor: after a change, or after taking over */
    struct worker_counters counters; /* read by the metrics thread */
    struct slabs slabs;              /* what belongs to handshakes; key material */
    struct backend backend;
    struct handshakes handshakes;
    struct sessions sessions;
    struct cookie_front *fronts; /* by number of the listener; listener = NULL: there is none */
    struct admission admission;
    struct unusable_tickets tickets;
    struct datapath_log log;
    struct udp_out to_client;
    /* Since the start: datagrams that sessions have carried; handshakes that were begun. */
    uint64_t data_count, begun_count;
    uint32_t worker, worker_count;
    bool is_stopping;
    bool is_draining[LAYOUT_LISTENERS_MAX]; /* no handshake begins there; by number */
};

/* What a worker has in common with the others. */
struct datapath_shared {
    struct state *state;           /* borrowed; where sessions lie, and all that outlives us */
    struct identities *identities; /* borrowed */
    /* Sees to it that the session of another worker ends as replaced. */
    void (*end_elsewhere)(void *context, const struct identities_session *session);
    void *context;
};

/* Makes everything of one worker but its listening sockets. socket: the one toward the backends. */
bool datapath_init(struct datapath *dp, struct generation *generation,
                   const struct datapath_shared *shared, uint32_t worker, uint32_t worker_count,
                   const struct udp_socket *socket, struct err *err) MUST_USE;
void datapath_deinit(struct datapath *dp);

/* Before its first datagram, goes on with what a process before has left of this worker's: see
 * sessions_adopt.h. All workers do so, at the same time if need be; when all have, each sweeps.
 * What the settings do not admit any more ends when it serves, by datapath_swap_on(). */
bool datapath_adopt(struct datapath *dp, struct sessions_adopt *adopt, uint64_t now_ms,
                    struct sessions_adopted *adopted, struct err *err) MUST_USE;
void datapath_adopt_sweep(struct datapath *dp, struct sessions_adopt *adopt);

/* A batch received on a listening socket of the listener. */
void datapath_from_client(struct datapath *dp, uint32_t listener, const struct udp_socket *socket,
                          const struct udp_in *batch, uint64_t now_ms);

/* A batch received on the backend socket. */
void datapath_from_backend(struct datapath *dp, const struct udp_in *batch, uint64_t now_ms);

/* Reads the backend socket's error queue. */
void datapath_backend_errors(struct datapath *dp, uint64_t now_ms);

/* Timers. Returns when to be called next, TIMERS_NONE = no need. */
uint64_t datapath_tick(struct datapath *dp, uint64_t now_ms);

/* Sends what is queued and frees what has ended: after calls that are none of the ones here. */
void datapath_flush(struct datapath *dp);

/* Begins to look at all sessions, whether the settings admit them; datapath_swap_on() goes on. What
 * changes settings or takes over calls it. */
void datapath_look(struct datapath *dp);
/* Goes over to other settings and credentials, which new devices meet at once. Sessions have to be
 * looked at one by one: that is what datapath_swap_on() is for, to be called until it returns
 * false. The swap before must have come to its end; the look after taking over need not, as all are
 * looked at again. The state has the listeners' servers already. */
void datapath_swap(struct datapath *dp, struct generation *generation, uint64_t now_ms);
/* A bit more of that, or of the look after taking over: takes some 100 us at most. Sessions end
 * whose listener is gone, or whose credential is not valid any more; the deadlines of others are
 * set anew. True: there is more. */
bool datapath_swap_on(struct datapath *dp, uint64_t now_ms);
/* After a swap, and when no socket of a listener that is gone is read any more: the generation
 * before is given back. */
void datapath_swap_end(struct datapath *dp);

/* A listening socket will be closed. Ends some of the handshakes that are there; true: there are
 * more. */
bool datapath_end_handshakes_at(struct datapath *dp, uint32_t listener,
                                const struct udp_socket *socket, uint64_t now_ms);
/* The worker has this listening socket from now on, or has not got it any more. Sessions that have
 * used one that is gone use another one of their listener. */
void datapath_add_socket(struct datapath *dp, uint32_t listener, const struct udp_socket *socket);
void datapath_remove_socket(struct datapath *dp, const struct udp_socket *socket);

/* Another worker asks for the end of a session. */
void datapath_end_session(struct datapath *dp, const struct identities_session *session,
                          uint64_t now_ms);

/* Says close_notify to every session. What comes afterwards is counted as shutting_down. */
void datapath_stop(struct datapath *dp, uint64_t now_ms);

/* Leaves sessions as they are, in the state, for the next process; handshakes end. Nothing may come
 * afterwards. */
void datapath_leave(struct datapath *dp, uint64_t now_ms);

#endif
