/* By which socket, and from which address of ours, datagrams go to devices: few pairs, which many
 * sessions share by number. The pairs are in the state, the same for all workers and for processes
 * to come: a socket is known there by the address that it is bound to. A pair stays as long as the
 * state: there are no more than sockets and addresses of this host, and beyond a bound the kernel
 * chooses the address. One worker's thread; workers that add a pair wait for each other. */
#ifndef ROUTES_H
#define ROUTES_H

#include <stdint.h>

#include "net/udp.h"
#include "state/state.h"

enum { ROUTES_MAX = LAYOUT_ROUTES_MAX, ROUTES_MASK = ROUTES_MAX - 1 };

struct route {
    const struct udp_socket *socket; /* borrowed; NULL = not looked for yet */
    struct addr local;               /* its port is the socket's; no family = the kernel's choice */
};

/* A socket of the worker's. */
struct routes_socket {
    const struct udp_socket *socket; /* borrowed */
    uint32_t listener;
};

struct routes {
    struct state *state;           /* borrowed */
    struct route *at;              /* owned; what this worker has looked for, by number */
    struct routes_socket *sockets; /* owned */
    uint32_t socket_count;
    struct route other; /* in place of one whose socket is gone */
};

bool routes_init(struct routes *routes, struct state *state, struct err *err) MUST_USE;
/* Harmless for one that is all zero. */
void routes_deinit(struct routes *routes);

/* The worker has this socket of that listener, until it is removed: sessions that were taken over,
 * or whose listener has moved, use it. False: out of memory. */
bool routes_add_socket(struct routes *routes, uint32_t listener,
                       const struct udp_socket *socket) MUST_USE;
void routes_remove_socket(struct routes *routes, const struct udp_socket *socket);

/* The number of the pair; `likely` is one that it may be. Out of numbers, another one of the same
 * socket, or one that is no pair's. */
uint32_t routes_find(struct routes *routes, uint32_t likely, const struct udp_socket *socket,
                     const struct addr *local);

/* The pair of that number, for a session of the listener; if the worker has not got its socket, any
 * of the listener's, of the same family if there is one. NULL = it has none. Valid until the next
 * call. For a number that is no pair's it is one of the listener's, too. */
const struct route *routes_get(struct routes *routes, uint32_t number, uint32_t listener);

#endif
