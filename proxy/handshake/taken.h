/* What a handshake leaves to the session, as one plain object: keys, numbers, connection IDs, and
 * the ticket that the device has not acknowledged. Nothing in it points anywhere, so that the
 * library's object can be freed at once. */
#ifndef TAKEN_H
#define TAKEN_H

#include "base/bytes.h"
#include "count/counters.h"
#include "wire/record.h"

enum {
    TAKEN_FRAGMENTS_MAX = 4, /* of a ticket; one is the rule */
    TAKEN_NUMBERS_MAX = 3,   /* of records that a fragment was sent in */
    TAKEN_BYTES_MAX = 1536,  /* of all fragments */
};

/* A part of a message that the device has not acknowledged. */
struct taken_fragment {
    uint16_t at, len; /* in taken_ticket.bytes; with its handshake header */
    uint8_t number_count;
    uint64_t numbers[TAKEN_NUMBERS_MAX]; /* of the records of epoch 3 that it was sent in */
};

struct taken_ticket {
    uint8_t count; /* 0: there is none, or none that fits; it is not repeated then */
    struct taken_fragment fragments[TAKEN_FRAGMENTS_MAX];
    uint16_t bytes_len;
    uint8_t bytes[TAKEN_BYTES_MAX];
};

/* Secret: taken_wipe() it after use. */
struct taken {
    enum dtls_version version;
    uint16_t suite; /* as on the wire */
    enum aead aead;
    uint16_t plaintext_max; /* max_fragment_length, or RECORD_PLAINTEXT_MAX */
    uint8_t cid_len, client_cid_len;
    uint8_t cid[RECORD_CID_MAX], client_cid[RECORD_CID_MAX]; /* the gate's, the device's */
    uint64_t write_next;                                     /* of epoch 1, in 1.3 of epoch 3 */
    union {
        struct {
            uint8_t read_key[AEAD_KEY_MAX], write_key[AEAD_KEY_MAX];
            uint8_t read_iv[AEAD_NONCE_BYTES], write_iv[AEAD_NONCE_BYTES];
            uint64_t nonce_base;         /* see record12.h */
            struct record_window window; /* all up to the newest read counts as read */
        } v12;
        struct {
            uint8_t read_secret[RECORD13_SECRET_MAX], write_secret[RECORD13_SECRET_MAX];
            /* Of epoch 2: a device that has not heard that we have its Finished repeats it. */
            uint8_t handshake_keys[RECORD13_KEYS_MAX]; /* in record13.h's order */
            struct record_window handshake_window;
            uint16_t message_seq_next, message_seq_expected;
            struct taken_ticket ticket;
        } v13;
    };
};

static inline void taken_wipe(struct taken *taken)
{
    bytes_wipe(taken, sizeof(*taken));
}

#endif
