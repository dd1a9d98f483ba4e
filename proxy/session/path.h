/* Where a session's device is: its address, the address change of RFC 9146 section 6, and what may
 * be sent there. One worker's thread. */
#ifndef PATH_H
#define PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "session/session_store.h"

/* To an address that is not proved at most this many times the bytes that came from it are sent. It
 * may be forged, by somebody who saw the record that moved the session (RFC 9146 section 6). */
#define PATH_AMPLIFICATION_MAX 3

/* An authentic record of the session came with this datagram. is_newest: it is newer than every
 * record before, and so says where the device is now (R38). True if the session has moved there. */
bool path_on_authentic(struct sessions *all, struct session *s, const struct arrival *arrival,
                       bool is_newest);

/* Sends a record of the session, as a datagram or behind the one with the number *datagram (0 =
 * none), and sets that. False: the role policy forbids it, or the address is not proved and has
 * been sent enough. *failed is set if the kernel does not take it; it may be NULL. */
bool path_send(struct sessions *all, struct session *s, const uint8_t *record, size_t len,
               uint64_t *datagram, bool *failed);

static inline bool path_is_proved(const struct session *s)
{
    const struct session_rare *rare = session_rare(s);
    return rare == NULL || !rare->is_unproved;
}

#endif
