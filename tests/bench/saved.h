/* Devices without a wolfSSL object of their own: a million of those would take 9 GB. What is left
 * of each is the session as the library exports it; one object, the puppet, becomes the device that
 * has something to send or to read. DTLS 1.2 only, as the library's export. */
#ifndef BENCH_SAVED_H
#define BENCH_SAVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct WOLFSSL;

enum { SAVED_CID_BYTES = 32, SAVED_STATE_BYTES = 348 };

struct saved {
    uint16_t state_bytes; /* 0: nothing is saved */
    uint8_t cid_bytes;
    uint8_t cid[SAVED_CID_BYTES]; /* which the server wants to see */
    uint8_t state[SAVED_STATE_BYTES];
};

/* Exports the session of ssl. False, with a message, if the library cannot. */
bool saved_export(struct saved *saved, struct WOLFSSL *ssl);

/* Makes puppet the saved session. It must have been a session of the same suite, with connection
 * IDs of the same length: the library has no call that sets what the peer wants to see. */
bool saved_import(const struct saved *saved, struct WOLFSSL *puppet);

#endif
