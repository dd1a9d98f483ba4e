/* What a listener's context of wolfSSL calls back. */
#ifndef DTLS_PREPARE_H
#define DTLS_PREPARE_H

#include "handshake/dtls.h"

/* Sets the callbacks of a listener's context. Once, before the first dtls_new. */
void dtls_prepare(struct creds *creds, const struct listener_config *config);

#endif
