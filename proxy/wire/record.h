/* What records of DTLS 1.2 and 1.3 have in common: what becomes of a record that is opened, the
 * window against replays, and how much keys may be used. Pure. */
#ifndef WIRE_RECORD_H
#define WIRE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/aead.h"
#include "wire/record_header.h"

enum {
    RECORD_PLAINTEXT_MAX = 16384, /* RFC 5246 section 6.2.1, RFC 8446 section 5.1 */
    RECORD_CID_MAX = 32,          /* of the connection IDs that we give and take */
    RECORD_WINDOW_BITS = 64,      /* RFC 6347 section 4.1.2.6, RFC 9147 section 4.5.1 */
    RECORD13_SECRET_MAX = 48,     /* of the traffic secrets of DTLS 1.3: SHA-384 */
    RECORD13_KEYS_MAX = 2 * AEAD_KEY_MAX + AEAD_NONCE_BYTES, /* of an epoch, in one direction */
    /* What a record is longer than its plaintext, at most: in 1.2 the header, a connection ID, the
     * explicit nonce, the content type, the tag; 1.3 takes less. */
    RECORD_OVERHEAD_MAX = RECORD_HEADER_BYTES + RECORD_CID_MAX + 8 + 1 + AEAD_TAG_MAX,
};

/* What became of a record. Up to RECORD_FORGED nothing that depends on it was authentic: it is to
 * be discarded in silence, without any change of state (RFC 9147 section 4.5.2). */
enum record_verdict {
    RECORD_OPENED,
    RECORD_MALFORMED,   /* the header */
    RECORD_WRONG_CID,   /* without the session's connection ID, or with another one */
    RECORD_WRONG_EPOCH, /* no keys for it */
    RECORD_TOO_SHORT,   /* for the suite */
    RECORD_REPLAYED,    /* was read before, or is older than the window */
    RECORD_FORGED,      /* does not authenticate: counts toward record_limits.forged */
    /* Authentic, read, and against the rules: the session ends. */
    RECORD_WITHOUT_TYPE, /* nothing but padding: unexpected_message (RFC 8446 section 5.4) */
    RECORD_TOO_LONG,     /* record_overflow (RFC 8446 section 5.4, RFC 6066 section 4) */
};

struct record_content {
    uint64_t epoch, number;
    const uint8_t *data; /* in the room of the caller's */
    size_t data_len;
    /* Bytes of the datagram that the record takes, whatever became of it; the whole rest if it
     * cannot be told where a next one begins. */
    size_t record_len;
    uint8_t type; /* as in enum record_type, or whatever the peer has sent */
};

/* The numbers that were read in one epoch. Zeroed = none. */
struct record_window {
    uint64_t next; /* newest number plus one; 0 = none */
    uint64_t seen; /* bit i: next - 1 - i was read */
};

/* Was read, or is too old to tell. */
bool record_window_has(const struct record_window *window, uint64_t number);
/* It was read and is authentic. */
void record_window_take(struct record_window *window, uint64_t number);

/* Takes padding and type off an inner plaintext: the type is the last byte that is not zero (RFC
 * 9146 section 4, RFC 8446 section 5.4). False: there is none. */
bool record_take_type(struct record_content *content);

/* How often a key may be used. */
struct record_limits {
    uint64_t sealed; /* records */
    uint64_t forged; /* records that did not authenticate */
};

/* RFC 9147 section 4.5.3 and RFC 8446 section 5.5 for DTLS 1.3, RFC 9325 section 4.4 for 1.2. */
const struct record_limits *record_limits(enum aead aead, bool is_1_3);

#endif
