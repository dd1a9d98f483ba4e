/* What fits into the flight in which a server shows its certificates. Part of creds.c; pure. */
#ifndef CREDS_FLIGHT_H
#define CREDS_FLIGHT_H

#include <stddef.h>
#include <stdint.h>

/* Longest record of a handshake, header included. Whatever the path, it fits into a datagram: of
 * 576 bytes, IPv4's minimum, the headers take 28. The library keeps the records of a flight as they
 * are until it is answered, so what may have to go through a narrow path must be short from the
 * start. The messages of a PSK handshake, and of one with raw public keys, are never cut by this,
 * which devices that cannot reassemble depend on. */
#define DTLS_HANDSHAKE_RECORD_MAX 548

/* Bytes of the Certificate message of DTLS 1.2 for which the library's flight has room, with an
 * `mtu` and a signature of so many bytes in the message behind. */
size_t creds_flight_certificates_max(uint32_t mtu_bytes, size_t signature_bytes);

#endif
