/* SipHash-2-4 with a random key: who does not know the key cannot choose inputs that share a hash
 * value, or part of one. Not for authentication. */
#ifndef BASE_KEYED_HASH_H
#define BASE_KEYED_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KEYED_HASH_WIDE_BYTES 16

/* Drawn by the owner of what is hashed, never shared with another purpose. */
struct keyed_hash_key {
    uint8_t bytes[16];
};

/* False if the kernel gives no random bytes; the key is unusable then. Early after boot this waits
 * until the kernel has gathered some. */
bool keyed_hash_key_init(struct keyed_hash_key *key, struct err *err) MUST_USE;

/* The same on hosts of either byte order. */
uint64_t keyed_hash(const struct keyed_hash_key *key, const void *data, size_t size);

/* Wide enough that two inputs with the same value need not be thought of. Its first half is not
 * the value of keyed_hash(). */
void keyed_hash_wide(const struct keyed_hash_key *key, const void *data, size_t size,
                     uint8_t hash[KEYED_HASH_WIDE_BYTES]);

#endif
