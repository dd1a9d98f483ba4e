/* Who a device is by its certificate. Part of dtls.c. */
#ifndef DTLS_CERTIFICATE_H
#define DTLS_CERTIFICATE_H

#include "handshake/dtls.h"

struct WOLFSSL_BUFFER_INFO;

/* wolfSSL's callback for the certificates that a device shows, also for none: judges them and
 * remembers in the peer what came of it, the device's identity and until when it is good. Returns 0
 * if the handshake may go on, else sets the alert. */
int dtls_certificate_judge(struct WOLFSSL *ssl, const struct WOLFSSL_BUFFER_INFO *shown, int count,
                           int *alert);

#endif
