/* A set of digests: of 16 bytes that are as good as random, so they need no hash of their own. In
 * memory that is left out of core dumps, since some are of keys. Filled by one thread, then read by
 * any. */
#ifndef BASE_DIGEST_SET_H
#define BASE_DIGEST_SET_H

#include "base/secret.h"

enum { DIGEST_SET_BYTES = 16 };

/* Zeroed = empty, without room. One owner. */
struct digest_set {
    struct secret slots; /* slot_count digests; all zero = free, which no digest is */
    size_t slot_count, count;
};

/* Empty, with room for so many. False if out of memory. */
bool digest_set_init(struct digest_set *set, size_t room) MUST_USE;
/* Wipes it. Harmless if it has no room. */
void digest_set_deinit(struct digest_set *set);

/* There must be room. False: it is there already. */
bool digest_set_add(struct digest_set *set, const uint8_t digest[DIGEST_SET_BYTES]);
bool digest_set_has(const struct digest_set *set, const uint8_t digest[DIGEST_SET_BYTES]);

#endif
