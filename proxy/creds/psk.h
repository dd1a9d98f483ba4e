/* Pre-shared keys: read from files, found by identity. Immutable once loaded, read by all workers.
 *
 * A file has one identity:hexkey per line, as GnuTLS psktool and mosquitto write it. The last
 * colon of a line ends the identity, since LwM2M identities (urn:imei:...) have colons of their
 * own. Empty lines and lines that begin with '#' are skipped, so a '#' revokes a key; GnuTLS's
 * form for binary identities, "#hex:hexkey", is therefore not supported. Lines may end in CRLF. The
 * last one needs no newline, unless its key looks cut: shorter than 16 bytes or than the others. */
#ifndef PSK_H
#define PSK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/problems.h"

/* RFC 4279 section 5.3 asks for at least these. An identity is any bytes but NUL (wolfSSL passes C
 * strings), CR and LF. */
#define PSK_IDENTITY_MAX 128
#define PSK_KEY_MAX 64

/* Of one store. */
#define PSK_FILES_MAX 8

struct psk_store;

/* Reads `count` files, at least one, of which no two may have one identity. Every problem is added,
 * with the path and the line; NULL if any was an error. `where` names the setting that named the
 * path. The caller owns the result. */
struct psk_store *psk_load(const char *const *paths, uint32_t count, const char *where,
                           struct problems *problems) MUST_USE;

/* Wipes the keys. NULL is harmless. */
void psk_free(struct psk_store *store);

/* The key of an identity, borrowed as long as the store lives; NULL if unknown. */
const uint8_t *psk_find(const struct psk_store *store, const void *identity, size_t identity_size,
                        size_t *key_size);

size_t psk_count(const struct psk_store *store);
size_t psk_count_of_file(const struct psk_store *store, uint32_t file);

#endif
