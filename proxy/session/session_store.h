/* The sessions of one worker: where they lie, how they are found, in which order they began.
 * What happens to one of them is session.c. One thread. */
#ifndef SESSION_STORE_H
#define SESSION_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/index_table.h"
#include "base/keyed_hash.h"
#include "base/log.h"
#include "base/timers.h"
#include "count/counters.h"
#include "creds/credential.h"
#include "creds/generation.h"
#include "handshake/flight.h"
#include "handshake/trace.h"
#include "net/udp.h"
#include "session/association.h"
#include "session/identities.h"
#include "session/routes.h"
#include "state/cells.h"

/* See the table in session.c. Stable codes: they outlive the process, in which SESSION_NEW is the
 * same as nothing, and a start completes the end of those that are closing or have ended. */
enum session_state {
    SESSION_NEW = 0,         /* being made; nobody finds it */
    SESSION_ESTABLISHED = 1, /* has a backend slot; ends for a close_reason */
    SESSION_CLOSING = 2, /* its device has closed it; what was sent before that may still come */
    SESSION_ENDED = 3,   /* nothing goes either way any more; freed by sessions_reap() */
};

/* Who the device is, and by which credential: as long as it needs. With a PSK and an identity of 24
 * bytes it takes a cell of 48 bytes. */
struct session_who {
    uint32_t hello_tag; /* half of that of the hello that began its handshake */
    uint8_t credential; /* enum credential; CREDENTIAL_NONE = it has shown none */
    uint8_t identity_len, digest_count;
    uint8_t identity[]; /* the digests of credential.h follow */
};

static inline size_t session_who_bytes(size_t identity_len, size_t digest_count)
{
    return offsetof(struct session_who, identity) + identity_len +
           digest_count * CREDENTIAL_DIGEST_BYTES;
}
/* digest_count of them, each of CREDENTIAL_DIGEST_BYTES. */
static inline const uint8_t *session_who_digests(const struct session_who *who)
{
    return who->identity + who->identity_len;
}

/* What few sessions have, and none for long. */
struct session_rare {
    /* The device was seen at a new address and has not proved it yet: bytes since then. */
    bool is_unproved;
    uint32_t received_bytes, sent_bytes;
    /* DTLS 1.2: the last flight, until the device's first data. */
    struct ref flight; /* owned; struct session_flight */
    uint64_t flight_sent_ms, flight_until_ms;
};

struct session_flight {
    uint16_t len;
    uint8_t bytes[]; /* as in struct flight_kept */
};

/* Milliseconds as they are kept: 8,900 years of them. */
#define SESSION_MS(ms) ((ms) & ((1ull << 48) - 1))

/* A cell of store.cells, as long as its keys need. Of what stands before the association no byte is
 * to spare: with one more some kinds of sessions would need another cache line. All of it but the
 * order and the timer is what the next process goes on with: nothing points to addresses, and
 * whoever changes more than one word says so (association_begin_change()). */
struct session {
    uint64_t number;    /* for logs, unique as long as the state lives; grows */
    struct addr client; /* where the device was seen last */
    struct ref who;     /* owned; struct session_who */
    struct ref rare;    /* owned; struct session_rare; nothing almost always */
    uint64_t last_used_ms : 48;
    uint64_t listener : 8; /* number */
    uint64_t backend : 8;  /* number; 0, since there is one */
    uint64_t established_ms : 48;
    uint64_t route : 12;                /* number: see routes.h */
    uint64_t state : 3;                 /* enum session_state */
    uint64_t is_at_address : 1;         /* found by its address */
    uint32_t from_client, from_backend; /* application datagrams; they stop at the largest number */
    uint32_t slot;
    /* Numbers of cells; CELLS_NONE = none. When it has ended, older links those to free. */
    uint32_t older, newer;
    struct timer timer;               /* set to the earliest of its deadlines, or before */
    uint64_t reason : 8;              /* enum close_reason: why it is closing or has ended */
    uint64_t suite : 16;              /* IANA's code */
    uint64_t counts_for_identity : 1; /* this process's identities may know it; not taken over */
    uint64_t unused : 39;
    struct association association; /* last: its keys follow */
};

_Static_assert(offsetof(struct session, association) == 88, "docs/operations.md says so");
_Static_assert(sizeof(struct session) == LAYOUT_SESSION_BYTES &&
                   sizeof(struct session_rare) == LAYOUT_RARE_BYTES &&
                   offsetof(struct session_who, identity) == LAYOUT_WHO_BYTES,
               "the layout of the state");

/* A device's close_notify was overtaken: see closing.h. */
struct session_closing {
    struct session *session; /* owned; NULL = has ended */
    uint32_t bytes_left;
    uint64_t end_ms;
};

/* The latest ones. What is opened for them is bounded by that. */
#define SESSION_CLOSING_MAX 64

/* Where a walk over the sessions is; see session_walk.h. */
struct session_cursor {
    uint32_t next;                /* number of the cell to be visited next */
    struct session_cursor *other; /* one more of the same store */
};

struct sessions {
    struct cells cells; /* the sessions, and what belongs to them; key material */
    struct routes routes;
    struct timers timers;
    struct index_table by_address, by_cid;
    struct keyed_hash_key hash_key;
    uint32_t oldest, newest;        /* established ones, in the order in which they began */
    uint32_t hand;                  /* the next that session_store_least_used() looks at */
    struct session_cursor *cursors; /* of the walks in progress, session_walk.h */
    uint32_t ended;                 /* to be freed by sessions_reap() */
    struct session_closing closing[SESSION_CLOSING_MAX]; /* a ring */
    uint32_t closing_oldest, closing_count;
    /* Borrowed; by number, LAYOUT_LISTENERS_MAX of them. While a session has that number it is
     * there. */
    const struct listener *const *listeners;
    struct identities *identities; /* borrowed */
    /* Sees to it that the session of another worker ends as replaced. */
    void (*end_elsewhere)(void *context, const struct identities_session *session);
    void *context;
    struct backend *backend;          /* borrowed */
    struct udp_out *to_client;        /* borrowed; where records leave */
    struct aead_work *work;           /* owned */
    struct worker_counters *counters; /* borrowed */
    struct log_limiter limiter;       /* for lines that devices can cause */
    struct log_limiter full_limiter;  /* for those on max_sessions */
    /* Borrowed; in place of those of the RFCs, which no test could reach. NULL: those. */
    const struct record_limits *limits;
    uint64_t now_ms; /* of the call in progress */
    uint32_t worker, worker_count;
    uint32_t count, max; /* established ones; of this worker */
    struct trace trace;  /* whose records and datagrams have a line */
};

struct sessions_settings {
    uint32_t worker, worker_count;
    uint32_t session_max; /* of this worker */
    const struct listener *const *listeners;
    struct identities *identities;
    void (*end_elsewhere)(void *context, const struct identities_session *session);
    void *context;
    struct backend *backend;
    struct udp_out *to_client;
    struct state *state; /* where they lie; shared by all workers */
    struct worker_counters *counters;
};

/* False: no memory, or no random key; session_store_deinit() is harmless then. */
bool session_store_init(struct sessions *all, const struct sessions_settings *settings,
                        struct err *err) MUST_USE;
/* Forgets all that is left: it stays in the region, for the next process. Nothing is sent, counted
 * or logged. */
void session_store_deinit(struct sessions *all);

static inline const struct listener *session_listener(const struct sessions *all,
                                                      const struct session *s)
{
    return all->listeners[s->listener];
}
static inline struct counters *session_counters(const struct sessions *all, const struct session *s)
{
    return &all->counters->by_listener[s->listener];
}
static inline struct session_who *session_who(const struct session *s)
{
    return ref_get(&s->who);
}
/* NULL = nothing is rare about it. */
static inline struct session_rare *session_rare(const struct session *s)
{
    return ref_find(&s->rare);
}
/* Whether it is found at a listener whose connection IDs have so many bytes: by its own, which
 * begins every record of its device's, or by its address, if it has none. */
static inline bool session_fits_cid_length(const struct session *s, uint32_t cid_bytes)
{
    return s->association.cid_len == 0 || s->association.cid_len == cid_bytes;
}
static inline bool session_is_anonymous(const struct session *s)
{
    return session_who(s)->credential == CREDENTIAL_NONE;
}

/* A session of that device's address, of that connection ID of ours; NULL = none. */
struct session *session_store_find(const struct sessions *all, uint32_t listener,
                                   const struct addr *client);
struct session *session_store_find_cid(const struct sessions *all, uint32_t listener,
                                       const uint8_t *cid, size_t cid_len);

/* The one that has the slot toward the backends; NULL = none. */
struct session *session_store_find_slot(const struct sessions *all, uint32_t slot);

/* One with those keys, that nobody finds yet, and room for its timer: a timer is set where failure
 * could not be handled. NULL: out of memory. */
struct session *session_store_make(struct sessions *all, const struct taken *taken) MUST_USE;
/* Wiped and given back, with all that belongs to it; it is in no table and no list. */
void session_store_free(struct sessions *all, struct session *s);

/* Whether it is found: by its address, by its connection ID (if it has one). False: out of memory.
 * Leaving is harmless if it was not. */
bool session_store_enter_address(struct sessions *all, struct session *s) MUST_USE;
void session_store_leave_address(struct sessions *all, struct session *s);
bool session_store_enter_cid(struct sessions *all, struct session *s) MUST_USE;
void session_store_leave_cid(struct sessions *all, struct session *s);

/* In the gauges of its listener: it is established from now on, or has ended. */
void session_store_enter_gauges(struct sessions *all, const struct session *s);
void session_store_leave_gauges(struct sessions *all, const struct session *s);

/* Order of beginning, of those that are established. */
void session_store_enter_order(struct sessions *all, struct session *s);
void session_store_enter_oldest(struct sessions *all, struct session *s); /* before all others */
void session_store_leave_order(struct sessions *all, struct session *s);
struct session *session_store_newest(const struct sessions *all);
/* The least recently used one of some: those whose turn it is, round and round in the order of
 * beginning. (An exact order of use would cost two cache misses with every datagram.) NULL = there
 * is none. */
struct session *session_store_least_used(struct sessions *all);

/* Sets it aside to be freed by session_store_reap(): pointers to it may be held now. */
void session_store_retire(struct sessions *all, struct session *s);
void session_store_reap(struct sessions *all);

/* The object for what is rare; NULL: out of memory. Dropping takes all of it. */
struct session_rare *session_store_rare(struct sessions *all, struct session *s);
void session_store_drop_rare(struct sessions *all, struct session *s);
void session_store_drop_flight(struct sessions *all, struct session_rare *rare);

#endif
