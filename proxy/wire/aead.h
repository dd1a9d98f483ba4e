/* The AEAD algorithms of DTLS records, by wolfCrypt, and the masks of record numbers. Pure: what a
 * call needs is given, nothing is kept. */
#ifndef WIRE_AEAD_H
#define WIRE_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Stable codes: they stand in the state of sessions, which outlives the process. */
enum aead {
    AEAD_NONE = 0,
    AEAD_AES_128_GCM = 1,
    AEAD_AES_256_GCM = 2,
    AEAD_AES_128_CCM = 3,
    AEAD_AES_256_CCM = 4,
    AEAD_AES_128_CCM_8 = 5,
    AEAD_AES_256_CCM_8 = 6,
    AEAD_CHACHA20_POLY1305 = 7,
    AEAD_COUNT,
};

enum {
    AEAD_KEY_MAX = 32,
    AEAD_TAG_MAX = 16,
    AEAD_NONCE_BYTES =
        12, /* of all (RFC 5116 section 5, RFC 6655 section 3, RFC 8439 section 2.8) */
    AEAD_SAMPLE_BYTES = 16, /* of the ciphertext, for a mask (RFC 9147 section 4.2.3) */
    AEAD_MASK_BYTES = 2,    /* as long as a record number on the wire */
};

/* wolfCrypt's objects, used again for one record after the other: key schedules are not kept (they
 * would be the largest part of a session, and are made in 0.1 us). Left out of core dumps. One
 * owner, one thread. */
struct aead_work;

/* NULL if out of memory. */
struct aead_work *aead_work_new(void) MUST_USE;
/* Wipes it. NULL is harmless. */
void aead_work_free(struct aead_work *work);

static inline size_t aead_key_bytes(enum aead aead)
{
    static const uint8_t bytes[AEAD_COUNT] = {0, 16, 32, 16, 32, 16, 32, 32};
    return bytes[aead];
}

static inline size_t aead_tag_bytes(enum aead aead)
{
    static const uint8_t bytes[AEAD_COUNT] = {0, 16, 16, 16, 16, 8, 8, 16};
    return bytes[aead];
}

/* What is sealed or opened, under any of them but AEAD_NONE. `in` and `out` are the same or do not
 * overlap. */
struct aead_text {
    const uint8_t *key, *nonce; /* aead_key_bytes(), AEAD_NONCE_BYTES */
    const uint8_t *aad;
    size_t aad_len;
    const uint8_t *in; /* with the tag at its end, when it is opened */
    size_t in_len;
    uint8_t *out;
};

/* out receives in_len bytes and the tag. False only where wolfCrypt fails, which no input causes.
 */
bool aead_seal(struct aead_work *work, enum aead aead, const struct aead_text *text) MUST_USE;

/* out receives in_len bytes less the tag. False if it is not authentic: out is then of no use. */
bool aead_open(struct aead_work *work, enum aead aead, const struct aead_text *text) MUST_USE;

/* What a record number is masked with: of the record-number key and the ciphertext's first bytes.
 */
bool aead_mask(struct aead_work *work, enum aead aead, const uint8_t *number_key,
               const uint8_t sample[AEAD_SAMPLE_BYTES], uint8_t mask[AEAD_MASK_BYTES]) MUST_USE;

#endif
