/* What the library says to the device: its records go into as few datagrams as the path takes, and
 * what stays unanswered is repeated. Part of session.c; one worker's thread. */
#ifndef SESSION_FLIGHT_H
#define SESSION_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtls.h"

struct session;

/* Bytes kept of the last flight of a DTLS 1.2 handshake: ChangeCipherSpec and Finished, and a
 * ticket. */
#define SESSION_LAST_FLIGHT_MAX DTLS_HANDSHAKE_RECORD_MAX

/* What only a handshake needs; freed when the device's first record after it has arrived. */
struct session_handshake {
    uint64_t sent_at_ms;    /* when something was last sent */
    uint64_t last_datagram; /* number of udp_out_queue(), for records that follow */
    uint8_t repeats;        /* of the flight that is unanswered */
    uint8_t alert_code;     /* of an alert in plaintext */
    uint64_t given_up_ms; /* when that counts, if nothing else comes; TIMERS_NONE = there is none */
    /* What was sent while the last datagram was fed: when that established the session, it is the
     * last flight, which is repeated if the device repeats its own (RFC 6347 section 4.2.4). */
    uint16_t last_flight_len, last_record_at;
    bool is_last_flight_complete;
    uint8_t last_flight[SESSION_LAST_FLIGHT_MAX];
};

/* A record of the library: a dtls_send_fn; owner is the session. */
void session_flight_on_record(void *owner, const uint8_t *record, size_t len);

/* The last record of those that were sent while the last datagram was fed, or NULL. */
const uint8_t *session_flight_last_record(const struct session *session, size_t *len);

/* A datagram is about to be fed to the session's object, or was: then the timers are set anew. */
void session_flight_on_feed(struct session *session);
void session_flight_on_fed(struct session *session);

/* The device repeats its flight, so ours was lost: repeats ours, at most once in a while. The
 * library is built not to do so itself: two of its kind would answer each other without end. */
void session_flight_repeat(struct session *session);

/* When session_flight_on_timer() is to be called; TIMERS_NONE = no need. */
uint64_t session_flight_due_ms(const struct session *session);
/* Repeats what is unanswered, acknowledges what has come; the session may have ended then. */
void session_flight_on_timer(struct session *session);

#endif
