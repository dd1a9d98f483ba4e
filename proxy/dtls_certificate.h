/* What a device's certificate says. Part of dtls.c. */
#ifndef DTLS_CERTIFICATE_H
#define DTLS_CERTIFICATE_H

#include "dtls.h"

/* wolfSSL's certificate callback, for each certificate of the device's chain: remembers the
 * verdict, the subject and the expiry in the peer. Returns the verdict unchanged; out of memory, 0.
 */
int dtls_certificate_check(int is_good, struct WOLFSSL_X509_STORE_CTX *store);

#endif
