/* Records of DTLS 1.2 under AEAD keys: RFC 6347 section 4.1, with a connection ID RFC 9146. Pure
 * functions; keys, window and connection ID are the session's. Only epoch 1 exists: there is no
 * renegotiation. The numbers R30 to R36 are those of the rules that tests cite. */
#ifndef WIRE_RECORD12_H
#define WIRE_RECORD12_H

#include "wire/record.h"

/* One direction of a session. All is borrowed, for the call only. */
struct record12_keys {
    enum aead aead;
    const uint8_t *key;
    const uint8_t *iv;   /* 4 bytes of salt; 12 for ChaCha20-Poly1305 (RFC 7905 section 2) */
    const uint8_t *cid;  /* of the one who reads; unused if cid_len is 0 */
    size_t cid_len;      /* 0: records of RFC 6347, which have none */
    uint64_t nonce_base; /* to seal with AES: the explicit nonce is this plus the record's number */
    size_t plaintext_max; /* to open: max_fragment_length, or RECORD_PLAINTEXT_MAX */
};

size_t record12_iv_bytes(enum aead aead);

/* Opens the record at the beginning of what is left of a datagram. `room` takes len bytes, does not
 * overlap the datagram, and is overwritten even if nothing comes of it. The window moves only when
 * the record is authentic. */
enum record_verdict record12_open(struct aead_work *work, const struct record12_keys *keys,
                                  struct record_window *window, const uint8_t *data, size_t len,
                                  uint8_t *room, struct record_content *content) MUST_USE;

/* Seals data_len bytes, at most RECORD_PLAINTEXT_MAX (one less with a connection ID), into out,
 * which has RECORD_OVERHEAD_MAX bytes more. `number` is below 2^48 and was never used under this
 * key; the caller has stored that it is used before. Returns the record's bytes; 0 if wolfCrypt
 * fails. */
size_t record12_seal(struct aead_work *work, const struct record12_keys *keys, uint64_t number,
                     uint8_t type, const uint8_t *data, size_t data_len, uint8_t *out) MUST_USE;

#endif
