/* Headers of records as they stand on the wire. Once for all who look at them: the one of DTLS 1.2
 * (RFC 6347 section 4.1), which plaintext of DTLS 1.3 has too; the same with a connection ID (RFC
 * 9146 section 4); and the unified one of ciphertext of DTLS 1.3 (RFC 9147 section 4). */
#ifndef WIRE_RECORD_HEADER_H
#define WIRE_RECORD_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum record_type {
    RECORD_CHANGE_CIPHER_SPEC = 20,
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_APPLICATION_DATA = 23,
    RECORD_TLS12_CID = 25, /* on the wire only (RFC 9146 section 4) */
    RECORD_ACK = 26,
};

/* Type 1, version 2, epoch 2, number 6, a connection ID if the type is RECORD_TLS12_CID, length 2;
 * what the length counts is the body. */
enum {
    RECORD_VERSION_AT = 1,
    RECORD_EPOCH_AT = 3,
    RECORD_NUMBER_AT = 5,
    RECORD_CID_AT = 11,
    RECORD_HEADER_BYTES = 13, /* without a connection ID */
    RECORD_DTLS12 = 0xfefd,   /* the version */
};

/* The unified header: 001CSLEE; the connection ID, number, length; what the bits say is there. */
enum {
    RECORD13_FIXED = 0x20,
    RECORD13_FIXED_MASK = 0xe0,
    RECORD13_HAS_CID = 0x10,
    RECORD13_HAS_16_BITS = 0x08, /* of the number, which else has 8 */
    RECORD13_HAS_LENGTH = 0x04,
    RECORD13_EPOCH_MASK = 0x03, /* its lowest bits */
    RECORD13_CID_AT = 1,
};

/* A record that begins so is ciphertext of DTLS 1.3, whatever follows (RFC 9147 section 4.1). */
static inline bool record_is_ciphertext13(uint8_t first_byte)
{
    return (first_byte & RECORD13_FIXED_MASK) == RECORD13_FIXED;
}

/* It is, and of this epoch or another with the same lowest bits. */
static inline bool record_is_of_epoch13(uint8_t first_byte, uint64_t epoch)
{
    return record_is_ciphertext13(first_byte) && ((first_byte ^ epoch) & RECORD13_EPOCH_MASK) == 0;
}

/* Of a header of DTLS 1.2, which is there whole. */
static inline uint16_t record_epoch(const uint8_t *header)
{
    return bytes_get16(header + RECORD_EPOCH_AT);
}

/* The same; header_len is RECORD_HEADER_BYTES, and a connection ID's. */
static inline size_t record_body_len(const uint8_t *header, size_t header_len)
{
    return bytes_get16(header + header_len - 2);
}

/* In neither form protected; at least RECORD_HEADER_BYTES are there, or a ciphertext's first. */
static inline bool record_is_plaintext(const uint8_t *header)
{
    return !record_is_ciphertext13(header[0]) && record_epoch(header) == 0;
}

#endif
