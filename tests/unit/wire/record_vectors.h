/* record_vectors.def as bytes: records of foreign clients with their keys. */
#ifndef RECORD_VECTORS_H
#define RECORD_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "wire/aead.h"

struct record_vector {
    const char *name;
    int version; /* 12 or 13 */
    enum aead aead;
    uint8_t secret[48], iv[12], cid[32], record[512], plaintext[512]; /* secret: in 1.2 the key */
    size_t secret_len, iv_len, cid_len, record_len, plaintext_len;
    uint64_t number;
    uint8_t type;
};

/* Calls test with each vector of the version; returns how many there were. */
unsigned record_vectors_each(int version, void (*test)(const struct record_vector *vector));

#endif
