#include "handshake/dtls_psk.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "wire/classify.h"

/* In 1.3 the library leaves it to the PSK callback to name the suite, and tells it nothing of what
 * the device offers; so this looks. */
const char *dtls_psk_choose_suite(const struct creds *creds, const uint8_t *hello, size_t len)
{
    size_t size;
    const uint8_t *suites = classify_hello_suites(hello, len, &size);
    for (int i = 0; suites != NULL && i < CREDS_PSK13_SUITES; i++) {
        for (size_t at = 0; at + 1 < size; at += 2) {
            if (creds->has_psk13_suite[i] && suites[at] == 0x13 &&
                suites[at + 1] == creds_psk13_suites[i].code)
                return creds_psk13_suites[i].name;
        }
    }
    return NULL;
}

/* The key for an identity, remembered in the peer; 0 = unknown. The identity has the length that
 * the library tells, for it may hold a NUL byte; none of ours does. */
unsigned dtls_psk_find(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    size_t identity_len = (size_t)wolfSSL_get_psk_identity_len(ssl);
    size_t key_len = 0;
    const uint8_t *found = NULL;

    dtls->peer->is_psk_denied = creds_has_denied(dtls->listener->creds, identity, identity_len);
    /* To the device, one that is denied is as one that is not known. */
    if (identity_len <= PSK_IDENTITY_MAX && !dtls->peer->is_psk_denied)
        found = creds_find_psk(dtls->listener->creds, identity, identity_len, &key_len);
    size_t kept = identity_len < PSK_IDENTITY_MAX ? identity_len : PSK_IDENTITY_MAX;
    memcpy(dtls->peer->identity, identity, kept);
    dtls->peer->identity_len = (uint8_t)kept;
    dtls->peer->is_psk_unknown = found == NULL;
    dtls->peer->has_identity_nul = memchr(identity, '\0', identity_len) != NULL;
    dtls->peer->digests.count = 0;
    if (found == NULL || key_len > key_max ||
        !credential_digest_psk((struct der){dtls->peer->identity, kept},
                               (struct der){found, key_len}, dtls->peer->digests.at[0]))
        return 0;
    dtls->peer->digests.count = 1;
    memcpy(key, found, key_len);
    return (unsigned)key_len;
}

unsigned dtls_psk13_find(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned key_max,
                         const char **suite)
{
    struct dtls *dtls = wolfSSL_GetIOReadCtx(ssl);
    if (dtls->peer->psk13_suite == NULL)
        return 0;
    *suite = dtls->peer->psk13_suite;
    return dtls_psk_find(ssl, identity, key, key_max);
}
