/* Role policy: the one place that decides which datagrams may go toward a device. Pure.
 *
 * The gate is a DTLS server and nothing else. Whatever the TLS library wants to send passes
 * role_may_send() first, so no bug above or below can make the gate begin a handshake, answer a
 * stranger with anything but a cookie, or speak to a device whose session has ended. */
#ifndef ROLE_H
#define ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

/* Where the gate stands with the device that the datagram would go to. */
enum role_phase {
    ROLE_STRANGER,  /* has not proved its address */
    ROLE_HANDSHAKE, /* proved its address, is in a handshake that it began */
    ROLE_SESSION,   /* has an established session */
    ROLE_REFUSED,   /* its handshake has failed, and it repeats the flight over which it did */
    ROLE_ENDED,     /* its session or handshake has ended */
};

/* A stranger's answer may be at most this many times as long as what it sent (RFC 9147 section
 * 5.1). */
#define ROLE_AMPLIFICATION_MAX 3

/* True if the datagram may be sent. request_len is the length of the datagram being answered; it
 * only matters for a stranger, and for a device that was refused. */
bool role_may_send(enum role role, enum role_phase phase, const uint8_t *datagram, size_t len,
                   size_t request_len);

#endif
