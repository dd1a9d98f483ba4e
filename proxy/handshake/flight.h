/* What a handshake says to the device: the library's records go into as few datagrams as the path
 * takes, and what stays unanswered is repeated. One worker's thread. */
#ifndef FLIGHT_H
#define FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slab.h"
#include "handshake/dtls.h"
#include "handshake/progress.h"
#include "net/udp.h"

/* Longest record of an alert: with the longest connection ID. */
#define FLIGHT_ALERT_MAX_BYTES 96

/* Where it goes, and what it is made with. All is borrowed. */
struct flight_way {
    struct dtls *dtls;
    const struct listener *listener;
    struct udp_out *to_client;
    counter *sent_bytes; /* see udp_out_queue() */
    const struct udp_socket *socket;
    struct addr client, local;
    struct slabs *slabs;
    struct log_limiter *limiter;
};

struct flight {
    struct flight_way way;
    struct progress progress;
    uint64_t now_ms;        /* of the latest call */
    uint64_t sent_at_ms;    /* when something was last sent; 0 = nothing was */
    uint64_t last_datagram; /* of udp_out_queue(), for records that follow; 0 = none may */
    uint64_t retransmit_due_ms, ack_due_ms; /* TIMERS_NONE = not due; ACKs are of DTLS 1.3 */
    uint32_t retransmit_after_ms;           /* current interval, doubling */
    uint8_t repeats;                        /* of the flight that is unanswered */
    bool was_plaintext;                     /* the last record */
    bool is_repeating;                      /* the library is sending once more */
    bool has_sent;                          /* the library sent something since it was cleared */
    /* DTLS 1.2: the records that were sent since a datagram was fed; owned. See flight_kept. */
    uint8_t *kept;
    uint32_t kept_len;
    uint16_t last_record_len; /* 0 = none, or it is too long to be an alert */
    uint8_t last_record[FLIGHT_ALERT_MAX_BYTES];
};

/* Becomes the sender of the object in `way`, which must not move: the handshake has it. */
void flight_init(struct flight *flight, const struct flight_way *way);
void flight_deinit(struct flight *flight);

/* A datagram is about to be fed to the object, and was: then the timers are set anew. */
void flight_on_feed(struct flight *flight, const uint8_t *data, size_t len, uint64_t now_ms);
void flight_on_fed(struct flight *flight, bool was_discarded);

/* The device repeats its flight, so ours was lost: repeats ours, at most once in a while. The
 * library is built not to do so itself: two of its kind would answer each other without end. False
 * on a fatal error. */
bool flight_repeat(struct flight *flight, uint64_t now_ms) MUST_USE;

/* When flight_on_time() is to be called; TIMERS_NONE = no need. */
uint64_t flight_due_ms(const struct flight *flight);
/* Repeats what is unanswered, acknowledges what has come. False on a fatal error. */
bool flight_on_time(struct flight *flight, uint64_t now_ms) MUST_USE;

/* The device seems to have given up: nothing is repeated, until it goes on. */
void flight_pause(struct flight *flight);
void flight_resume(struct flight *flight, uint64_t now_ms);

/* The last record that was sent since a datagram was fed, if it can be an alert; else NULL. */
const uint8_t *flight_last_record(const struct flight *flight, size_t *len);

/* Largest datagram to that device that needs no luck. */
size_t flight_datagram_max(const struct listener *listener, const struct addr *client);

/* ---- the last flight of DTLS 1.2 ------------------------------------------------------------- */

/* Records, each behind its length in two bytes. No timer repeats them: the device's own flight, if
 * it comes again, tells that they were lost (RFC 6347 section 4.2.4). */
struct flight_kept {
    uint8_t *bytes; /* owned, of slabs; NULL = none */
    uint32_t len;
};

/* Takes it from the flight; empty if the device had the last word, or it was too long. */
struct flight_kept flight_take_kept(struct flight *flight);
void flight_kept_free(struct flight_kept *kept, struct slabs *slabs);
/* Gives the records in plaintext new numbers: a device that had to drop one, because something
 * before it was missing, would take it for a replay. What is protected stays as it is. */
void flight_kept_renumber(struct flight_kept *kept);
/* The record behind that one, or the first one for NULL; NULL = no more. */
const uint8_t *flight_kept_next(const struct flight_kept *kept, const uint8_t *record, size_t *len);

#endif
