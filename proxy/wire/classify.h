/* Bytes of a datagram -> what kind of DTLS datagram it is. Pure: no state, no crypto, no answer.
 *
 * It also cuts a datagram at its first malformed record, so that the TLS library never sees a
 * record header with a wrong length, with a wrong type in plaintext, or with a wrong version in
 * what is protected: several of those end a handshake inside the library although nothing
 * authenticated them (RFC 6347 section 4.1.2.7: discard silently). In plaintext any version is as
 * good as another. What is protected may have any type, which a session that authenticates it has
 * to answer; classify_record_len() keeps unknown ones from the library. */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum datagram_kind {
    DATAGRAM_JUNK,      /* no well-formed DTLS record at its beginning */
    DATAGRAM_HELLO,     /* begins with a plaintext ClientHello, or a fragment of one */
    DATAGRAM_PLAINTEXT, /* begins with another record of epoch 0: handshake, CCS, alert, ACK */
    DATAGRAM_PROTECTED, /* begins with a record of a later epoch, or a DTLS 1.3 ciphertext */
};

struct classified {
    enum datagram_kind kind;
    uint32_t usable_len;    /* bytes of well-formed records from the beginning */
    uint32_t protected_len; /* bytes of protected records from the beginning, before any of epoch 0
                               and any with another connection ID */
    /* Up to the first alert in plaintext, and what that says: anybody could have sent it. */
    uint32_t before_alert_len; /* usable_len = there is none */
    uint8_t alert_level, alert_code;
    uint8_t first_type; /* content type of the first record, as it stands on the wire */
    const uint8_t *cid; /* connection ID of the first record, in the datagram; NULL = none */
    /* DATAGRAM_HELLO only: */
    bool is_fragment;       /* not the whole ClientHello */
    bool is_later_fragment; /* a fragment without the beginning; no random in it */
    bool has_cookie;        /* a DTLS 1.2 cookie; that of 1.3 is an extension */
    uint64_t hello_tag; /* taken from the client random: tells a repeated hello from a new one */
};

/* The datagram looks like one of a device that is in a handshake: it begins with a handshake
 * message other than a ClientHello, or with a record that keys of a handshake may protect. */
bool classify_is_of_flight(const struct classified *kind);

/* The cipher suites that a ClientHello offers, two bytes each; *size is set to their bytes. NULL if
 * the datagram does not begin with one that has them in its first record. */
const uint8_t *classify_hello_suites(const uint8_t *data, size_t len, size_t *size);

/* The ticket that a ClientHello would resume a session with, or a pre-shared key's identity in the
 * place of one in DTLS 1.3; *size is set to its bytes, which may be 0. NULL if the datagram does
 * not begin with one that has it in its first record. */
const uint8_t *classify_hello_ticket(const uint8_t *data, size_t len, size_t *size);

/* Junk that looks like a CoAP message in plaintext (RFC 7252 section 3), as of a device that was
 * told coap:// instead of coaps://. No DTLS record looks so. */
bool classify_is_coap(const uint8_t *data, size_t len);

/* Bytes of the first record; 0 if it is malformed, has a body of more than body_max, or an
 * unknown type, with which the library is not trusted. */
size_t classify_record_len(const uint8_t *data, size_t len, size_t cid_len, size_t body_max);

/* Bytes of whole records up to the first ACK in plaintext. */
size_t classify_before_plain_ack(const uint8_t *data, size_t len, size_t cid_len);

/* Writes DTLS 1.2 into the header of every record in plaintext, whatever version it had. */
void classify_level_versions(uint8_t *data, size_t len, size_t cid_len);

/* Bytes of whole records up to the first protected one without a connection ID. */
size_t classify_before_missing_cid(const uint8_t *data, size_t len, size_t cid_len);

/* cid_len: of the connection IDs that the listener gives out; 0 = it gives none. */
struct classified classify(const uint8_t *data, size_t len, size_t cid_len);

#endif
