/* Where a session's device is, and how datagrams find the session: its address, its connection ID,
 * and the address change of RFC 9146 section 6. Part of session.c; one worker's thread. */
#ifndef SESSION_PATH_H
#define SESSION_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/udp.h"
#include "session/session_table.h"

struct session;

struct session_path {
    struct addr local;               /* that it sends to */
    const struct udp_socket *socket; /* that it sends to; borrowed */
    /* Since the device moved, until it has proved the new address. */
    uint32_t received_bytes, sent_bytes;
    bool is_proved;
};

/* To an address that is not proved at most this many times the bytes that came from it are sent. It
 * may be forged, by somebody who saw the record that moved the session (RFC 9146 section 6). */
#define SESSION_PATH_AMPLIFICATION_MAX 3

/* Of a session whose device has not moved yet: what its connection ID and its slot are made of. */
uint32_t session_path_bucket(const struct session *session);

/* Draws a connection ID for the session, gives it to the library and enters it into the table. True
 * without one if the device did not ask for it, or if all of its bucket are taken.
 * False: out of memory. */
bool session_path_take_cid(struct session *session) MUST_USE;

/* The hello may have come in fragments, so that the device turns out not to have asked only now. */
void session_path_settle_cid(struct session *session);

static inline bool session_path_has_cid(const struct table_cid_entry *entry)
{
    return entry->cid_len != 0;
}

/* An authentic record of the session came with this datagram. is_newest: it is newer than every
 * record before, and so says where the device is now. */
void session_path_on_authentic(struct session *session, const struct udp_datagram *datagram,
                               const struct udp_socket *socket, bool is_newest);

/* May a datagram of that length go to the device? Counts it if so. */
bool session_path_may_send(struct session *session, size_t len);

/* The session is not found by its address any more; a handshake that was begun from there is. */
void session_path_leave_address(struct session *session);

#endif
