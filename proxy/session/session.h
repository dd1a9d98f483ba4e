/* The life of a session, from a good cookie to its end: the only place where its state changes.
 * One worker's thread. */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timers.h"
#include "count/counters.h"
#include "handshake/dtls.h"
#include "session/session_flight.h"
#include "session/session_park.h"
#include "session/session_path.h"
#include "session/session_table.h"
#include "session/sessions.h"

enum session_state {
    SESSION_HANDSHAKE,   /* proved its address; ends with success, failure or handshake_timeout */
    SESSION_ESTABLISHED, /* has a backend slot; ends for a close_reason */
    SESSION_ENDED,       /* nothing goes to the device any more; freed by sessions_reap */
};

struct session {
    struct table_entry entry;         /* key: where the device was seen last, in the table or not */
    struct table_cid_entry cid_entry; /* cid_len 0 = it has no connection ID */
    struct session_path path;         /* where the device is */
    struct timer timer;               /* set to the earliest of the deadlines below */
    struct sessions *all;
    struct dtls *dtls;                         /* owned; NULL when parked or ended */
    struct parked *parked;                     /* owned by all->park; NULL unless parked */
    struct session_handshake *handshake;       /* owned; may be NULL once established */
    const struct listener *listener;           /* borrowed */
    struct session *less_recent, *more_recent; /* established: order of use; ended: less_recent
                                                  links the list of those to free */
    struct session *successor;   /* handshake begun from the address of this established session */
    struct session *predecessor; /* the other way round */
    uint64_t number;             /* for logs, unique in the process */
    uint64_t hello_tag;          /* of the hello that began it */
    uint64_t begun_ms, established_ms, last_used_ms;
    uint64_t retransmit_due_ms;         /* TIMERS_NONE = none */
    uint64_t ack_due_ms;                /* DTLS 1.3: a gap was seen; TIMERS_NONE = none */
    uint64_t refusal_due_ms;            /* before that, a renegotiation is refused in silence */
    uint64_t from_client, from_backend; /* application datagrams */
    uint32_t retransmit_after_ms;       /* current interval, doubling */
    uint32_t fed_bytes, last_fed_bytes; /* since the last application data; of the last datagram */
    uint32_t slot;                      /* BACKEND_NO_SLOT until established */
    uint8_t state;                      /* enum session_state */
    uint8_t version;                    /* enum dtls_version, when established */
    struct identities_key identity;     /* tells devices apart, unless is_anonymous */
    bool is_anonymous;                  /* established without a credential */
    bool has_stalled;                   /* a wrong key has been reported */
    bool has_sent;                      /* the library sent something since it was cleared */
    bool is_woken;                      /* for the datagram at hand, and not put to use yet */
    bool was_woken_in_vain;             /* by the latest record from the network */
};

/* Begins the handshake of a device that proved its address. Takes dtls. An established session of
 * the same address lives on until this one is established; an unfinished handshake is given up.
 * NULL: out of memory (dtls is freed). */
struct session *session_begin(struct sessions *sessions, struct dtls *dtls,
                              const struct udp_socket *socket, const struct addr *client,
                              const struct addr *local, uint64_t hello_tag);

/* The handshake is complete. False: nobody was authenticated, or there is no backend address; the
 * session has ended then. */
bool session_on_established(struct session *session) MUST_USE;

/* The handshake failed. Nothing more is sent. */
void session_on_failed(struct session *session);
/* The same, for a reason of our own. */
void session_fail(struct session *session, enum handshake_result result, const char *detail);

/* Gives the session's object a datagram; then dtls_next() is called until it is used up, then
 * session_on_fed(), which keeps the retransmission timer and a bound on what is fed: the session
 * may have ended then. */
void session_feed(struct session *session, const uint8_t *data, size_t len);
void session_on_fed(struct session *session, bool was_discarded);

/* An alert in plaintext, for a handshake: of the device, or of anybody who forges its address. It
 * says that the device has given up, and is not fed to the library, which would believe it. The
 * handshake falls silent, and fails unless the device goes on. */
void session_on_plain_alert(struct session *session, uint8_t level, uint8_t code);

/* Application data went one way or the other. */
void session_on_data_from_client(struct session *session);
void session_on_data_from_backend(struct session *session);

/* Ends a session, established or not. With a farewell a close_notify is sent, if established. */
void session_end(struct session *session, enum close_reason reason, bool with_farewell);

/* The session's timer is due. */
void session_on_timer(struct session *session);

/* Takes a session out of the table and sets it aside for sessions_reap, without counting, logging
 * or sending anything. For session_end and the like, and for sessions_deinit. */
void session_retire(struct session *session);

/* A handshake failed before there was a session: counted and logged in the same way. */
void sessions_on_refused(struct sessions *sessions, const struct dtls *dtls,
                         const struct addr *client);

/* The same of a device whose alert says that it cannot use the ticket of DTLS 1.3 in its hello. */
void sessions_on_ticket_unusable(struct sessions *sessions, const struct listener *listener,
                                 const struct addr *client, uint8_t alert);

#endif
