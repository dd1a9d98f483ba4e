/* What a handshake leaves to the session: keys, numbers, connection IDs. From the instant of taking
 * over, whoever has it protects the records, and the object is not used any more (it would use the
 * same numbers). Part of dtls.c. */
#ifndef DTLS_TAKE_OVER_H
#define DTLS_TAKE_OVER_H

#include "handshake/dtls.h"
#include "wire/record12.h"
#include "wire/record13.h"

/* Secret: bytes_wipe() it after use. */
struct dtls_taken {
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
            struct record13_keys handshake_keys;
            struct record_window handshake_window;
            uint16_t message_seq_next, message_seq_expected;
        } v13;
    };
};

/* Of an object whose handshake has just been completed. False if it is in another state, or its
 * suite is unknown here: a bug. */
bool dtls_take_over(const struct dtls *dtls, struct dtls_taken *taken) MUST_USE;

/* Of DTLS 1.3: a part of a message that the device has not acknowledged, which is a ticket. */
struct dtls_unacknowledged {
    const uint8_t *fragment; /* with its handshake header; valid as long as the object */
    size_t len;
    uint64_t numbers[3]; /* of the records of epoch 3 that it was sent in */
    uint32_t number_count;
};

/* index from 0; false if there are no more. */
bool dtls_take_unacknowledged(const struct dtls *dtls, int index,
                              struct dtls_unacknowledged *unacknowledged);

#endif
