/* By which socket, and from which address of ours, datagrams go to devices: few pairs, which many
 * sessions share by number. A pair stays as long as the process: there are no more than sockets and
 * addresses of this host, and beyond a bound the kernel chooses the address. One worker's thread.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include <stdint.h>

#include "net/udp.h"

enum { ROUTES_MAX = 4096, ROUTES_MASK = ROUTES_MAX - 1 };

struct route {
    const struct udp_socket *socket; /* borrowed */
    struct addr local;               /* its port is the socket's; no family = the kernel's choice */
};

/* Zeroed = empty. */
struct routes {
    struct route *at; /* owned */
    uint32_t count, capacity;
};

void routes_deinit(struct routes *routes);

/* The number of the pair; `likely` is one that it may be. Out of memory or of numbers, another one
 * of the same socket, or 0. */
uint32_t routes_find(struct routes *routes, uint32_t likely, const struct udp_socket *socket,
                     const struct addr *local);

const struct route *routes_get(const struct routes *routes, uint32_t number);

#endif
