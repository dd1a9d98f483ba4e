/* Devices that are not served, whatever they can prove: read from a file, found by identity or
 * public key. Immutable once loaded, read by all workers.
 *
 * An entry a line: an identity, as it is or in quotes as the log writes it (\" \\ \xNN), or
 * "sha256:" and the SHA-256 of a SubjectPublicKeyInfo in hexadecimal. Empty lines and lines that
 * begin with
 * '#' are skipped. The last line ends with a newline: a file that was cut would let somebody in. */
#ifndef DENY_H
#define DENY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/problems.h"
#include "creds/credential.h"

struct deny_list;

/* Every problem is added, with the path and the line; NULL if any was an error. `where` names the
 * setting that named the path. The caller owns the result. */
struct deny_list *deny_load(const char *path, const char *where,
                            struct problems *problems) MUST_USE;

/* NULL is harmless. */
void deny_free(struct deny_list *list);

bool deny_has_identity(const struct deny_list *list, const void *identity, size_t size);
/* By credential_digest_public_key(). */
bool deny_has_key(const struct deny_list *list, const uint8_t digest[CREDENTIAL_DIGEST_BYTES]);

size_t deny_identity_count(const struct deny_list *list);
size_t deny_key_count(const struct deny_list *list);

#endif
