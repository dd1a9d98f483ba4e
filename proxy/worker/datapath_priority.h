/* When a limit bites, those go first that lose something. */
#ifndef DATAPATH_PRIORITY_H
#define DATAPATH_PRIORITY_H

#include "session/sessions.h"

/* The sender of a ClientHello has a session at this address, or a ticket of this listener. */
bool datapath_priority_has(const struct sessions *all, const struct listener *listener,
                           const struct udp_datagram *hello);

/* Of that many handshakes at once, how many the sender may be one of: the last quarter is for those
 * with priority, as in limit.h. */
uint32_t datapath_priority_share(uint32_t max, bool has_priority);

#endif
