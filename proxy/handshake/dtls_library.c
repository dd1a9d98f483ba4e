/* The library as a whole. */
#include "handshake/dtls.h"

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

bool dtls_library_init(void)
{
    return wolfSSL_Init() == WOLFSSL_SUCCESS;
}

void dtls_library_deinit(void)
{
    wolfSSL_Cleanup();
}

const char *dtls_library_version(void)
{
    return wolfSSL_lib_version();
}

const char *dtls_library_features(void)
{
    return "DTLS-1.2 X.509"
#ifdef WOLFSSL_DTLS13
           " DTLS-1.3"
#endif
#ifndef NO_PSK
           " PSK"
#endif
#ifdef HAVE_AESCCM
           " AES-CCM"
#endif
#if defined(HAVE_CHACHA) && defined(HAVE_POLY1305)
           " ChaCha20-Poly1305"
#endif
#ifdef WOLFSSL_HAVE_MLKEM
           " ML-KEM"
#endif
#ifdef WOLFSSL_DTLS_CID
           " connection-IDs"
#endif
#ifdef WOLFSSL_AESNI
           " AES-NI"
#endif
        ;
}
