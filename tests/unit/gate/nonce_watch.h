/* No key is ever used twice with the same nonce for different bytes (RFC 5116 section 3.1): the
 * keystream would be known, with GCM and Poly1305 the key of the tag too. This watches the AEAD
 * calls of wolfCrypt, whoever makes them: the gate's own record layer, the library in the gate,
 * tickets, cookies, and the devices in the same process. Two calls with the same key, nonce,
 * additional data and plaintext are one record that is sent again.
 *
 * A test whose source includes this header, itself or through another, is linked so that the calls
 * lead here (Makefile, NONCE_WATCH_CALLS). Not for threads. */
#ifndef NONCE_WATCH_H
#define NONCE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Forgets everything: where random numbers begin anew, keys come again. */
void nonce_watch_reset(void);

/* Encryptions watched since then, those that were repeated among them. */
uint64_t nonce_watch_seen(void);
uint64_t nonce_watch_repeated(void);

/* From now on processes that this one forks off note what they use where it can be collected, when
 * they have ended or were killed: before the call that encrypts. */
void nonce_watch_share(void);
void nonce_watch_collect(void);

/* A key and nonce used again with other bytes fail the test at once; with true they are only
 * counted, for tests of this file. Returns the count and begins a new one. */
uint64_t nonce_watch_tolerate(bool tolerate);

#endif
