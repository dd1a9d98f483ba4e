/* Seals records of DTLS 1.3 in any form that the RFC allows, with any inner plaintext: what foreign
 * stacks, or a device that means harm, may send. */
#ifndef RECORD_FORGE_H
#define RECORD_FORGE_H

#include "wire/record13.h"

enum { FORGE_HAS_CID = 0x10, FORGE_HAS_16_BITS = 0x08, FORGE_HAS_LENGTH = 0x04 };

/* `first` is the header's first byte; inner has its content type, and padding. Returns the record's
 * length; out has RECORD_OVERHEAD_MAX bytes more than inner. */
size_t record_forge_13(struct aead_work *work, enum aead aead, const uint8_t *keys, uint8_t first,
                       const uint8_t *cid, size_t cid_len, uint64_t number, const uint8_t *inner,
                       size_t inner_len, uint8_t *out);

#endif
