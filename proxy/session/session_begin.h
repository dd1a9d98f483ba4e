/* How a session begins: from a handshake that is complete, if all limits agree. One worker's
 * thread.
 */
#ifndef SESSION_BEGIN_H
#define SESSION_BEGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "handshake/handshake.h"
#include "session/session_store.h"

/* Makes a session of a complete handshake, at the address where that began, or where its last
 * datagram came from; the caller then tells the handshake. One of the same device at that address
 * ends as replaced. NULL: *why; the device, which believes that it has a session, has been told. */
struct session *session_begin(struct sessions *all, struct handshake *handshake,
                              const struct taken *taken, const struct arrival *last,
                              enum handshake_result *why);

/* The listener's credentials, as they are now, let the session's device in: its PSK is there, or
 * was changed where sessions may outlive that, and neither deny_file nor a CRL has it. */
bool session_is_admitted(const struct session *s, const struct listener *listener);

/* There is a backend address for a session of that device, or will be when another one has made way
 * for it. */
bool sessions_may_begin(struct sessions *all, const struct listener *listener,
                        const struct addr *client, uint64_t now_ms);

#endif
