/* Protected records of DTLS 1.3 (RFC 9147 section 4). Pure functions; keys, windows and connection
 * IDs are the session's. The numbers R1 to R20 are those of the rules that tests cite. */
#ifndef WIRE_RECORD13_H
#define WIRE_RECORD13_H

#include "wire/record.h"

/* The keys of one epoch and direction lie together: key, record-number key, IV. Their bytes, at
 * most RECORD13_KEYS_MAX: */
size_t record13_keys_bytes(enum aead aead);

/* Makes them of a traffic secret (RFC 8446 section 7.3, RFC 9147 sections 4.2.3 and 5.9). The hash
 * is SHA-384 for AES-256-GCM, else SHA-256. False only where wolfCrypt fails. */
bool record13_derive(uint8_t *keys, enum aead aead, const uint8_t *secret) MUST_USE;
/* The traffic secret of the next epoch (RFC 8446 section 7.2); `next` may be `secret`. */
bool record13_update(enum aead aead, const uint8_t *secret, uint8_t *next) MUST_USE;
size_t record13_secret_bytes(enum aead aead);

/* An epoch that is read. All is borrowed, for the call only. */
struct record13_epoch {
    uint64_t epoch;
    const uint8_t *keys; /* as record13_derive() makes them */
    struct record_window *window;
};

struct record13_reader {
    enum aead aead;
    const struct record13_epoch *epochs; /* newest first (R4) */
    size_t epoch_count;
    const uint8_t *cid;
    size_t cid_len;       /* 0: we have none, and records with one are not ours */
    size_t plaintext_max; /* max_fragment_length, or RECORD_PLAINTEXT_MAX */
};

/* Opens the record at the beginning of what is left of a datagram; is_first: of the datagram, so
 * that it must have the connection ID (R3). `room` takes len bytes and does not overlap the
 * datagram. The window of its epoch moves only when the record is authentic and was not read
 * before. After RECORD_WRONG_CID, too, the whole rest is to be discarded: record_len says so. */
enum record_verdict record13_open(struct aead_work *work, const struct record13_reader *reader,
                                  const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                                  struct record_content *content) MUST_USE;

struct record13_writer {
    enum aead aead;
    uint64_t epoch;
    const uint8_t *keys;
    const uint8_t *cid; /* the device's */
    size_t cid_len;     /* 0: records have none */
};

/* Seals data_len bytes, at most RECORD_PLAINTEXT_MAX, into out, which has RECORD_OVERHEAD_MAX bytes
 * more. `number` was never used under this key; the caller has stored that it is used before.
 * Returns the record's bytes; 0 if wolfCrypt fails. */
size_t record13_seal(struct aead_work *work, const struct record13_writer *writer, uint64_t number,
                     uint8_t type, const uint8_t *data, size_t data_len, uint8_t *out) MUST_USE;

#endif
