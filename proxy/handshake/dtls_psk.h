/* Pre-shared keys: what wolfSSL asks for. */
#ifndef DTLS_PSK_H
#define DTLS_PSK_H

#include "handshake/dtls.h"

/* The suite of DTLS 1.3 that a PSK is used with, of those that the hello offers: its name, or NULL
 * if the hello has none that the listener has. */
const char *dtls_psk_choose_suite(const struct creds *creds, const uint8_t *hello, size_t len);

/* wolfSSL's callbacks of DTLS 1.2 and 1.3: the key for an identity, remembered in the peer; returns
 * its bytes, 0 = unknown. */
unsigned dtls_psk_find(struct WOLFSSL *ssl, const char *identity, unsigned char *key,
                       unsigned key_max);
unsigned dtls_psk13_find(struct WOLFSSL *ssl, const char *identity, unsigned char *key,
                         unsigned key_max, const char **suite);

#endif
