/* A handshake's wolfSSL object: feed datagrams, retransmit, tell what came of it. All calls of
 * wolfSSL for a handshake are here (the stateless front is cookie.c). Knows no socket: what the
 * library sends leaves through a function that the owner sets. One worker's thread. */
#ifndef DTLS_H
#define DTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "count/counters.h"
#include "creds/creds_flight.h"
#include "creds/generation.h"
#include "handshake/hello_offer.h"
#include "handshake/ticket.h"

enum dtls_event {
    DTLS_GOES_ON, /* the datagram is used up, or the rest of it has to wait */
    DTLS_ESTABLISHED,
    DTLS_FAILED, /* an alert may have been sent */
};

/* What is learned about the client in a handshake. */
struct dtls_peer {
    uint8_t identity[PSK_IDENTITY_MAX]; /* PSK identity, or see certificate_identity() */
    uint8_t identity_len;
    struct credential_digests digests; /* of what goes with the identity */
    bool is_psk_unknown;               /* named an identity that has no key here */
    bool is_psk_denied;                /* named one that is in deny_file */
    bool has_identity_nul;             /* with a NUL byte in it, as none there can have */
    bool is_certificate_good;          /* its certificate leads to one of client_ca */
    uint8_t certificate_flaw;          /* enum certificate_flaw */
    /* Owned; NULL: no certificate was refused, or it could not be read. */
    struct certificate_summary *refused;
    const char *psk13_suite;  /* for a PSK in 1.3, of those that its hello offers; NULL = none */
    struct hello_offer offer; /* of its hello, with the cookie */
    uint64_t good_until_ms;   /* the certificates that it showed; 0 = none shown */
    /* Of the ticket in its hello, whether a session is resumed by it or not. */
    struct ticket_holder holder; /* good_until_ms 0: no ticket could be opened */
    uint8_t ticket_tag[16];      /* that tells it from other tickets */
};

/* Called with each record that the library wants to send. */
typedef void (*dtls_send_fn)(void *owner, const uint8_t *record, size_t len);

struct dtls {
    struct WOLFSSL *ssl;
    const struct listener *listener; /* borrowed */
    dtls_send_fn send;               /* NULL: nothing is sent */
    void *owner;
    const uint8_t *in; /* what is left of the datagram being fed, borrowed; NULL = nothing */
    uint32_t in_len;
    uint64_t now_ms;        /* when the datagram was fed */
    uint32_t drops_before;  /* drop statistics when the datagram was fed */
    bool has_cut;           /* the end of the datagram was not handed over: no record of ours */
    bool has_own_cid;       /* the gate has given it a connection ID */
    struct dtls_peer *peer; /* owned */
};

/* Once in the process, before and after everything else of wolfSSL. */
bool dtls_library_init(void) MUST_USE;
void dtls_library_deinit(void);
const char *dtls_library_version(void);
/* What it was built with, of what matters here; words separated by spaces. */
const char *dtls_library_features(void);

/* Largest record that the library makes in a handshake. */
uint16_t dtls_record_max(const struct listener *listener);

/* A server-side object that has not seen a datagram; NULL if out of memory. The caller owns it. */
struct dtls *dtls_new(const struct listener *listener) MUST_USE;
/* NULL is harmless. */
void dtls_free(struct dtls *dtls);

/* Connection IDs. Before a datagram is fed that may be the hello: the session will have one if the
 * device offers the extension and the listener gives them out. False: out of memory. */
bool dtls_offer_cid(struct dtls *dtls) MUST_USE;
/* After the hello: true if both sides have agreed on using them. */
bool dtls_has_cid(const struct dtls *dtls);
/* Sets the gate's own, once, before the flight that answers the hello. False: out of memory. */
bool dtls_set_cid(struct dtls *dtls, const uint8_t *cid, size_t len) MUST_USE;

void dtls_set_sender(struct dtls *dtls, dtls_send_fn send, void *owner);

/* Gives the object a datagram, which must stay valid until dtls_accept() has returned. */
void dtls_feed(struct dtls *dtls, const uint8_t *data, size_t len, uint64_t now_ms);
/* Goes on with what was fed. The library gets one record at a time (T1), so that whatever stands
 * behind the last one of the handshake is left for the session, and in DTLS 1.3 none that the
 * session's keys protect. */
enum dtls_event dtls_accept(struct dtls *dtls);
/* What of the datagram was not handed over; *len is its bytes. */
const uint8_t *dtls_rest(const struct dtls *dtls, size_t *len);

/* The retransmission timer has run out: repeats what is unanswered. False on a fatal error. */
bool dtls_on_timeout(struct dtls *dtls);
/* True if the library asks for a timeout of a quarter of the usual (DTLS 1.3: a gap was seen and
 * an ACK is due, RFC 9147 section 7.1). */
bool dtls_wants_quick_timeout(const struct dtls *dtls);

/* DTLS 1.3: what was read last is an ACK. */
bool dtls_was_ack(const struct dtls *dtls);
/* Records came that do not decrypt. */
bool dtls_has_unreadable(const struct dtls *dtls);
/* Records of the datagram fed last that were discarded: not authentic or not new. */
uint32_t dtls_discarded(const struct dtls *dtls);

enum dtls_version dtls_version(const struct dtls *dtls);
const char *dtls_suite(const struct dtls *dtls); /* IANA name */

/* True if the established session goes on from an earlier one, by a ticket. */
bool dtls_is_resumed(const struct dtls *dtls);

/* The credential that authenticates the established session, or the one that it was resumed from;
 * if there is one. */
enum credential dtls_credential(const struct dtls *dtls);

/* Why the handshake failed, and words on it that an operator can act on ("" if the reason says it
 * all). Valid as long as the object lives. */
enum handshake_result dtls_failure(const struct dtls *dtls, const char **detail);

/* The same of a PSK identity that a device has named and cannot enter with. */
enum handshake_result dtls_failure_of_identity(const struct dtls_peer *peer, const char **detail);

/* Why a listener cannot serve what a hello offers. False if it could, as far as the hello tells:
 * then nothing is set. */
bool dtls_offer_find_fault(const struct listener *listener, const struct hello_offer *offer,
                           bool is_1_3, enum handshake_result *result, const char **detail);

/* What is left if it could, and the library found nothing in common. offer: NULL = not known. */
const char *dtls_offer_doubt(const struct hello_offer *offer);

/* The library has sent a fatal alert. */
bool dtls_has_sent_alert(const struct dtls *dtls);

#endif
