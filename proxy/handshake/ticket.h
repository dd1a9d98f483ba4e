/* Resumption tickets (RFC 5077, RFC 8446 section 4.6.1): who the device is, sealed together with
 * the library's own state, and the keys that seal. Nothing is kept for a ticket; the keys come from
 * a listener's random master and the time, so all workers have the same without sharing anything
 * that changes. Pure but for the random IV. */
#ifndef TICKET_H
#define TICKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "count/counters.h"
#include "creds/credential.h"
#include "creds/psk.h"
#include "handshake/period_secret.h"

/* A key seals for one of these and opens for one more: a ticket is good for one to two. So a device
 * that wakes once a day, now earlier and now later, can resume each time. */
#define TICKET_PERIOD_MS (24u * 3600 * 1000)

/* From the handshake that proved the credential to the last resumption, over any number of tickets:
 * the longest life of a ticket in RFC 8446 section 4.6.1. */
#define TICKET_CHAIN_MS (7 * (uint64_t)TICKET_PERIOD_MS)

/* The fields that wolfSSL gives a ticket, and those of our own behind the library's state. */
enum {
    TICKET_MASTER_BYTES = PERIOD_SECRET_MASTER_BYTES,
    TICKET_NAME_BYTES = 16,
    TICKET_IV_BYTES = 16,
    TICKET_MAC_BYTES = 32,
    TICKET_HOLDER_MAX_BYTES =
        PSK_IDENTITY_MAX + CREDENTIAL_DIGESTS_MAX * CREDENTIAL_DIGEST_BYTES + 11,
};

/* The device that a ticket was made for. */
struct ticket_holder {
    uint64_t good_until_ms; /* no resumption after it; in time of the gate's clock */
    uint8_t credential;     /* enum credential */
    uint8_t identity_len;
    uint8_t identity[PSK_IDENTITY_MAX];
    struct credential_digests digests;
};

/* A ticket in parts, each in memory of the caller's. */
struct ticket {
    uint8_t *name, *iv, *mac;
    uint8_t *body; /* the library's state, then the holder */
    size_t body_len, body_room;
};

/* Appends the holder to the body and encrypts it in place, with the key of now. False if there is
 * no room, no random bytes or no memory. */
bool ticket_seal(const uint8_t master[TICKET_MASTER_BYTES], const struct ticket_holder *holder,
                 uint64_t now_ms, struct ticket *ticket) MUST_USE;

enum ticket_verdict {
    TICKET_FOREIGN, /* forged, of another listener or gate, too old, or cannot be read */
    TICKET_GOOD,
    TICKET_AGEING, /* good, but with the key before the current one */
};

/* Decrypts the body in place and takes the holder off its end. What is foreign stays as it is. */
enum ticket_verdict ticket_open(const uint8_t master[TICKET_MASTER_BYTES], uint64_t now_ms,
                                struct ticket *ticket, struct ticket_holder *holder) MUST_USE;

/* Whether it looks like a ticket of a gate: this one, another, or one whose state was lost. Proves
 * nothing. */
bool ticket_looks_ours(const uint8_t *ticket, size_t len);

/* Whether a ticket as a hello has it names a key in use. That proves nothing, but who never had a
 * ticket of this listener, nor saw one, cannot know such a name. */
bool ticket_is_known(const uint8_t master[TICKET_MASTER_BYTES], uint64_t now_ms,
                     const uint8_t *ticket, size_t len) MUST_USE;

#endif
