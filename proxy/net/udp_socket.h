/* Sockets for datagrams: how they are opened, and taken over from another process. Linux only. */
#ifndef UDP_SOCKET_H
#define UDP_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/fd_list.h"

struct udp_socket {
    int fd; /* -1 = closed */
    struct addr bound;
    uint32_t kernel_drops; /* last value of SO_RXQ_OVFL, wraps */
};

/* Listening socket, the first one on its address: fails if anybody has that already, also if two
 * try at once. Others of ours can join it then; so could any program of the same user that asks for
 * SO_REUSEPORT. `ours` are other sockets of this gate, NULL = none: those of an address that
 * overlaps, such as 0.0.0.0 and 127.0.0.1 with the same port, are not in the way. */
bool udp_open_first_listener(struct udp_socket *socket, const struct addr *addr,
                             const struct fd_list *ours, struct err *err) MUST_USE;
/* Another one, that joins the first. */
bool udp_open_listener(struct udp_socket *socket, const struct addr *addr,
                       struct err *err) MUST_USE;

/* The receive buffer of the sockets that ClientHellos arrive at. Holds the hellos of 10,000 devices
 * that come back at once: the kernel accounts for up to 1280 bytes each (more with some network
 * drivers) and doubles what is asked for. */
#define UDP_HELLO_BUFFER_BYTES (8 * 1024 * 1024)

/* What this process would get of a receive buffer of that size; -1 if there is no socket. */
int udp_try_receive_buffer(int bytes);

/* Asks for a receive buffer of that size; like all sockets it gets as much as the kernel lets it.
 */
void udp_set_receive_buffer(const struct udp_socket *socket, int bytes);

/* Socket toward backends: 0.0.0.0, only the loopback interface, ICMP errors on its error queue.
 * is_first: fails if anybody has the port (0 = one of the kernel's choice). Else it joins the
 * first. */
bool udp_open_backend(struct udp_socket *socket, uint16_t port, bool is_first,
                      struct err *err) MUST_USE;
void udp_close(struct udp_socket *socket);

/* Takes a socket that another process has opened with one of these functions. Its options are what
 * they were; where it is bound, it tells itself. False: it is none, and stays the caller's. */
bool udp_adopt(struct udp_socket *socket, int fd, struct err *err) MUST_USE;

#endif
