/* All sessions of one worker: where they are found, in which order they were used, when the next
 * one needs attention. What happens to one of them is session.c. One thread. */
#ifndef SESSIONS_H
#define SESSIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/log.h"
#include "base/slab.h"
#include "base/timers.h"
#include "count/counters.h"
#include "creds/generation.h"
#include "net/limit.h"
#include "session/identities.h"
#include "session/park.h"
#include "session/session_linger.h"
#include "session/session_refusal.h"
#include "session/session_table.h"

struct session;

/* What a worker's sessions have in common with those of other workers. */
struct sessions_shared {
    struct identities *identities; /* borrowed */
    /* Sees to it that the session of another worker ends as replaced. */
    void (*end_elsewhere)(void *context, const struct identities_session *session);
    void *context;
};

struct sessions {
    struct sessions_shared shared;
    struct session_table table;
    struct timers timers;
    struct session *least_recent, *most_recent; /* established ones, in order of use */
    struct session *oldest_handshake, *newest_handshake;
    struct session *next_to_park; /* the more recent ones too; NULL = none */
    struct session *ended;        /* to be freed by sessions_reap */
    struct slabs slabs; /* the sessions themselves, and what belongs to them; key material */
    struct park park;
    struct backend *backend;          /* borrowed */
    struct udp_out *to_client;        /* borrowed; where records leave */
    struct worker_counters *counters; /* borrowed */
    struct session_refusals refusals;
    struct session_lingers lingers;
    struct log_limiter limiter;          /* for lines on handshakes that fail, and the like */
    struct log_limiter stranger_limiter; /* for lines that need no address of one's own */
    struct log_limiter limit_limiter;    /* for lines on a limit that bites */
    struct log_limiter backend_limiter;  /* for lines on a backend that is down */
    struct log_limiter send_limiter;     /* for lines on what cannot be sent to one */
    struct log_limiter sender_limiter;   /* for lines on those who are no backend */
    uint64_t next_number, number_step;
    uint64_t now_ms; /* of the batch in progress */
    uint32_t worker, worker_count;
    uint32_t session_max, established_count;
    uint32_t handshake_count;
    uint32_t live_count, live_max;   /* established ones with a wolfSSL object */
    uint32_t live_of[VERSION_COUNT]; /* of these, by version */
    uint64_t park_after_ms;          /* 0 = never */
    uint8_t can_park[VERSION_COUNT]; /* enum dtls_can_park */
    struct limit_bucket woken_in_vain;
    uint32_t farewells_of_parked; /* at most, when the gate stops */
    bool *client_send_failed;     /* set if a record being sent now is not taken by the kernel */
    bool is_ending_quietly;       /* no line for each session that ends */
    bool is_kept_back;            /* a record was not sent, since its address is not proved */
};

struct sessions_limits {
    uint32_t worker, worker_count;
    uint32_t session_max, live_max; /* of this worker */
    uint64_t park_after_ms;
    struct sessions_shared shared;
};

/* False if there is no random key for its table; sessions_deinit is harmless then. */
bool sessions_init(struct sessions *sessions, const struct sessions_limits *limits,
                   struct backend *backend, struct udp_out *to_client,
                   struct worker_counters *counters, struct err *err) MUST_USE;
/* Frees everything; nothing is sent. */
void sessions_deinit(struct sessions *sessions);

/* A session of that device in the table, or NULL. */
struct session *sessions_find(const struct sessions *sessions, const struct listener *listener,
                              const struct addr *client);

/* The session with that connection ID, or NULL. */
struct session *sessions_find_cid(const struct sessions *sessions, const struct listener *listener,
                                  const uint8_t *cid);

/* The bucket of sessions that begin at that address: of their connection IDs and their slots. */
uint32_t sessions_bucket_of(const struct sessions *sessions, const struct addr *client);

/* Room for the timer of one more session, ahead of need: a timer is set where failure could not be
 * handled. */
bool sessions_reserve_timer(struct sessions *sessions) MUST_USE;

/* Order of use of the established sessions, order of beginning of the handshakes: puts it in as the
 * latest one of its state, or takes it out. */
void sessions_note_use(struct session *session);
void sessions_forget_use(struct session *session);

/* The oldest handshake of the listener, if its device had time enough: it may be ended to make room
 * for another. NULL if none is that old. */
struct session *sessions_find_slow_handshake(const struct sessions *sessions,
                                             const struct listener *listener);

/* Timers that are due at sessions->now_ms. */
void sessions_on_time(struct sessions *sessions);
/* When to be called next; TIMERS_NONE = no need. */
uint64_t sessions_next_due_ms(const struct sessions *sessions);

/* Ends the session as replaced, if it is still there. */
void sessions_end_replaced(struct sessions *sessions, const struct identities_session *session);

/* Ends all sessions with a close_notify each, but for parked ones beyond so many. */
void sessions_end_all(struct sessions *sessions);

/* Frees the sessions that have ended; call it when no pointer to one is held. */
void sessions_reap(struct sessions *sessions);

#endif
