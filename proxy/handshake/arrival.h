/* A datagram of a device, and what is known of it when it has been looked at. */
#ifndef ARRIVAL_H
#define ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "creds/generation.h"
#include "net/udp.h"
#include "wire/classify.h"

/* All is borrowed, for the call only; but socket, which sessions and handshakes keep. */
struct arrival {
    const struct listener *listener;
    const struct udp_socket *socket;
    const struct udp_datagram *datagram;
    struct classified kind;
    uint64_t now_ms;
    bool *send_failed; /* set when the kernel does not take what the datagram became */
};

#endif
