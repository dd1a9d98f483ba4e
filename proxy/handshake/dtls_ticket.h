/* Resumption of sessions: what dtls.c tells wolfSSL about tickets. Part of dtls.c. */
#ifndef DTLS_TICKET_H
#define DTLS_TICKET_H

#include "handshake/dtls.h"

/* Sets the callback of a listener that gives tickets. */
void dtls_ticket_prepare(struct creds *creds);

/* wolfSSL's ticket callback: seals or opens `body` in place. *len is the room in it, then what is
 * there. Returns one of WOLFSSL_TICKET_RET_x. */
int dtls_ticket_seal_or_open(struct WOLFSSL *ssl, unsigned char *name, unsigned char *iv,
                             unsigned char *mac, int is_sealing, unsigned char *body, int body_len,
                             int *len, void *context);

/* A certificate of the device's chain is good until then (seconds since 1970); so is what rests on
 * it. */
void dtls_ticket_note_expiry(struct dtls *dtls, int64_t expiry_s);

/* The established session was resumed: the device is the one that the ticket was made for. */
void dtls_ticket_adopt_holder(struct dtls *dtls);

#endif
