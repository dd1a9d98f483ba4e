#include "saved.h"

#include <stdio.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* The server's connection ID; a pointer into the object. NULL: none. */
static unsigned char *cid_of(WOLFSSL *ssl, unsigned *size)
{
    unsigned char *cid = NULL;
    *size = 0;
    if (!wolfSSL_dtls_cid_is_enabled(ssl) ||
        wolfSSL_dtls_cid_get_tx_size(ssl, size) != WOLFSSL_SUCCESS || *size == 0 ||
        wolfSSL_dtls_cid_get0_tx(ssl, &cid) != WOLFSSL_SUCCESS) {
        *size = 0;
        return NULL;
    }
    return cid;
}

bool saved_export(struct saved *saved, WOLFSSL *ssl)
{
    unsigned char state[1024]; /* the library wants room for any session */
    unsigned size = sizeof state, cid_bytes;
    int result = wolfSSL_dtls_export(ssl, state, &size);
    const unsigned char *cid = cid_of(ssl, &cid_bytes);
    if (result <= 0 || result > SAVED_STATE_BYTES || cid_bytes > SAVED_CID_BYTES) {
        fprintf(stderr, "load: cannot export a session: %d\n", result);
        return false;
    }
    memcpy(saved->state, state, (size_t)result);
    saved->state_bytes = (uint16_t)result;
    saved->cid_bytes = (uint8_t)cid_bytes;
    if (cid) {
        memcpy(saved->cid, cid, cid_bytes);
    }
    return true;
}

bool saved_import(const struct saved *saved, WOLFSSL *puppet)
{
    unsigned cid_bytes;
    unsigned char *cid = cid_of(puppet, &cid_bytes);
    if (cid_bytes != saved->cid_bytes) {
        fprintf(stderr, "load: a connection ID of %d bytes, and before of %u\n", saved->cid_bytes,
                cid_bytes);
        return false;
    }
    int result = wolfSSL_dtls_import(puppet, saved->state, saved->state_bytes);
    if (result <= 0) {
        fprintf(stderr, "load: cannot import a session: %d\n", result);
        return false;
    }
    if (cid) {
        memcpy(cid, saved->cid, cid_bytes);
    }
    return true;
}
