/* Keys, or the bytes of a file that holds some, in memory of their own: left out of core dumps,
 * wiped when given back. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Larger files are refused: offsets into one fit 32 bits. */
#define SECRET_SIZE_MAX ((size_t)4 << 30)

/* Zeroed = holds nothing. One owner. */
struct secret {
    uint8_t *bytes;
    size_t size;
    size_t mapped_bytes; /* whole pages */
};

/* `size` zero bytes, at least one. False if out of memory. */
bool secret_new(struct secret *secret, size_t size) MUST_USE;

/* Reads a regular file that is not empty. `wide_mode` receives its permission bits if they let
 * others in than its owner, and, to read, a group of this process (which is how Kubernetes hands
 * out secrets: 0440); else 0. */
bool secret_read(struct secret *secret, const char *path, uint32_t *wide_mode,
                 struct err *err) MUST_USE;

/* Keeps the first `size` bytes; wipes the rest and gives its pages back. */
void secret_shrink(struct secret *secret, size_t size);

/* Wipes and gives back. Harmless if it holds nothing. */
void secret_free(struct secret *secret);

#endif
