/* Takes the place of udp.c: sockets in memory, on fake_network.
 *
 * udp_out_room() gives memory of exactly the size that was asked for, and udp_receive() datagrams
 * in memory of exactly their size, so that an address sanitizer sees every byte too far. */
#ifndef FAKE_UDP_H
#define FAKE_UDP_H

#include "fakes/fake_network.h"
#include "net/udp.h"

/* Forgets all sockets. */
void fake_udp_reset(void);

/* A datagram of the network arrives at the socket that it is for; at none if there is none. */
void fake_udp_put(const struct packet *packet);

/* The kernel takes no datagram in that direction as long as this is set. */
void fake_udp_refuse(enum direction direction, bool is_refused);
/* What a socket sends to itself is lost as long as this is set. */
void fake_udp_lose_own(bool is_lost);
/* Puts an entry on the backend socket's error queue. */
void fake_udp_add_error(const struct addr *from, const struct addr *to, int error);
/* The next batch received on any socket reports this many drops. */
void fake_udp_add_kernel_drops(uint32_t drops);

/* A batch of one datagram that the caller has, in memory of its own. */
void fake_udp_fill(struct udp_in *in, const struct addr *from, const struct addr *to,
                   const void *data, size_t len);

#endif
