/* What the library reads and writes: one record at a time from the datagram that was fed, and to
 * the object's sender. wolfSSL's callbacks; the context is a struct dtls. */
#ifndef DTLS_IO_H
#define DTLS_IO_H

#include "handshake/dtls.h"

int dtls_io_receive(struct WOLFSSL *ssl, char *buffer, int size, void *context);
int dtls_io_send(struct WOLFSSL *ssl, char *buffer, int size, void *context);

#endif
