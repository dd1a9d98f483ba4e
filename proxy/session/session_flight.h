/* What the library says to the device: its records go into as few datagrams as the path takes, and
 * what stays unanswered is repeated. Part of session.c; one worker's thread. */
#ifndef SESSION_FLIGHT_H
#define SESSION_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake/dtls.h"
#include "session/session_progress.h"

struct session;

/* Longest record of an alert: with the longest connection ID. */
#define SESSION_ALERT_MAX_BYTES 96

/* What only a handshake needs; freed with the device's first data after it, or a while later. */
struct session_handshake {
    struct session_progress progress;
    uint64_t sent_at_ms;    /* when something was last sent */
    uint64_t last_datagram; /* of udp_out_queue(), for records that follow; 0 = none may */
    uint8_t repeats;        /* of the flight that is unanswered */
    bool was_plaintext;     /* the last record */
    uint8_t alert_code;     /* of an alert in plaintext */
    bool is_repeating;      /* the library is sending a flight once more */
    uint64_t given_up_ms;   /* when that alert counts, if nothing else comes; TIMERS_NONE = none */
    /* DTLS 1.2: the records that were sent since a datagram was fed, each behind its length in two
     * bytes; owned. Of an established session that is the last flight. */
    uint8_t *flight;
    uint32_t flight_len;
    uint16_t last_record_len; /* 0 = none, or it is too long to be an alert */
    uint8_t last_record[SESSION_ALERT_MAX_BYTES];
};

/* Frees the session's handshake; harmless if it has none. */
void session_flight_free(struct session *session);

/* A record of the library: a dtls_send_fn; owner is the session. */
void session_flight_on_record(void *owner, const uint8_t *record, size_t len);

/* The last record that was sent since a datagram was fed, if it can be an alert; else NULL. */
const uint8_t *session_flight_last_record(const struct session *session, size_t *len);

/* A datagram is about to be fed to the session's object, or was: then the timers are set anew. */
void session_flight_on_feed(struct session *session);
void session_flight_on_fed(struct session *session, bool was_discarded);

/* The device repeats its flight, so ours was lost: repeats ours, at most once in a while. The
 * library is built not to do so itself: two of its kind would answer each other without end. The
 * last flight of DTLS 1.2 has no timer, so this is what repairs it (RFC 6347 section 4.2.4); it is
 * kept here until the device's first data, so that the session may be parked meanwhile. */
void session_flight_repeat(struct session *session);

/* When session_flight_on_timer() is to be called; TIMERS_NONE = no need. */
uint64_t session_flight_due_ms(const struct session *session);
/* Repeats what is unanswered, acknowledges what has come; the session may have ended then. */
void session_flight_on_timer(struct session *session);

#endif
