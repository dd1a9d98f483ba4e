/* The alerts of handshakes that failed, for a while. No alert is repeated by a timer, but a device
 * that repeats the flight over which its handshake failed has not heard ours, and would go on until
 * its patience ends (RFC 6347 section 4.2.7). Part of session.c; one worker's thread. */
#ifndef SESSION_REFUSAL_H
#define SESSION_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "creds/generation.h"
#include "net/udp.h"
#include "session/session_flight.h"

struct session;
struct sessions;

enum {
    SESSION_REFUSALS_MAX = 64,   /* the latest ones */
    SESSION_REFUSAL_REPEATS = 3, /* of each, at most */
    SESSION_REFUSAL_MS = 60000,  /* for so long */
    SESSION_REFUSAL_INTERVAL_MS = 250,
};

struct session_refusal {
    struct addr client, local;
    const struct udp_socket *socket; /* borrowed */
    uint64_t end_ms;                 /* 0 = none is kept here */
    uint64_t due_ms;                 /* not before that once more */
    uint32_t listener;
    uint8_t repeats, alert_len;
    uint8_t alert[SESSION_ALERT_MAX_BYTES];
};

struct session_refusals {
    struct session_refusal at[SESSION_REFUSALS_MAX];
    uint32_t next;   /* place for the next one */
    uint64_t end_ms; /* of the latest: nothing is kept any longer */
};

/* The session's handshake has failed: keeps the alert, if it sent one. */
void session_refusal_keep(struct session *session);

/* The device begins anew. */
void session_refusal_forget(struct sessions *sessions, const struct listener *listener,
                            const struct addr *client);

/* The datagram repeats a flight and is of no session. True if it is answered with the alert over
 * which its handshake failed. */
bool session_refusal_repeat(struct sessions *sessions, const struct listener *listener,
                            const struct udp_datagram *datagram);

#endif
