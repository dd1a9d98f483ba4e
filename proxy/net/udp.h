/* Sockets and batches: recvmmsg, sendmmsg, packet info. No meaning: what a datagram says is not
 * looked at. Linux only. */
#ifndef UDP_H
#define UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define UDP_BATCH 64
/* Longer ones may need fragments on their way to an IPv6 address. */
#define UDP_V6_WHOLE_MAX (1280 - 40 - 8)
#define UDP_DATAGRAM_MAX 65507 /* IPv4; what an IPv6 packet may hold more, no device sends */

struct udp_socket {
    int fd; /* -1 = closed */
    struct addr bound;
    uint32_t kernel_drops; /* last value of SO_RXQ_OVFL, wraps */
};

struct udp_datagram {
    struct addr from;
    struct addr to; /* local address that it was sent to; port = the socket's */
    const uint8_t *data;
    uint32_t len;
};

/* One receive batch; owns its buffers. */
struct udp_in {
    struct udp_datagram at[UDP_BATCH];
    uint32_t count;
    uint32_t new_kernel_drops; /* since the batch before, on the same socket */
    struct udp_in_buffers *buffers;
};

/* Listening socket, the first one on its address: fails if anybody has that already, also if two
 * try at once. Others of ours can join it then; so could any program of the same user that asks for
 * SO_REUSEPORT. */
bool udp_open_first_listener(struct udp_socket *socket, const struct addr *addr,
                             struct err *err) MUST_USE;
/* Another one, that joins the first. */
bool udp_open_listener(struct udp_socket *socket, const struct addr *addr,
                       struct err *err) MUST_USE;

/* The receive buffer of the sockets that ClientHellos arrive at. Holds the hellos of 10,000 devices
 * that come back at once: the kernel accounts for up to 1280 bytes each (more with some network
 * drivers) and doubles what is asked for. */
#define UDP_HELLO_BUFFER_BYTES (8 * 1024 * 1024)

/* What this process would get of a receive buffer of that size; -1 if there is no socket. */
int udp_try_receive_buffer(int bytes);

/* True if this process may receive and send batches; a sandbox may forbid it. */
bool udp_try_batches(struct err *err) MUST_USE;

/* Asks for a receive buffer of that size; like all sockets it gets as much as the kernel lets it.
 */
void udp_set_receive_buffer(const struct udp_socket *socket, int bytes);

/* Socket toward backends: 0.0.0.0, only the loopback interface, ICMP errors on its error queue.
 * is_first: fails if anybody has the port (0 = one of the kernel's choice). Else it joins the
 * first. */
bool udp_open_backend(struct udp_socket *socket, uint16_t port, bool is_first,
                      struct err *err) MUST_USE;
void udp_close(struct udp_socket *socket);

bool udp_in_init(struct udp_in *in) MUST_USE; /* false: out of memory */
void udp_in_deinit(struct udp_in *in);

/* Fills the batch with what has arrived; false if nothing has. */
bool udp_receive(struct udp_socket *socket, struct udp_in *in);
/* The same for at most `max` datagrams. */
bool udp_receive_some(struct udp_socket *socket, struct udp_in *in, uint32_t max);
/* Throws away what has arrived so far. */
void udp_discard(const struct udp_socket *socket);

/* Takes one error off the error queue: `from` is the local address that had sent, `to` where. False
 * if there is none. */
bool udp_take_error(struct udp_socket *socket, struct addr *from, struct addr *to, int *error);

/* Sends one datagram at once, outside of any batch. False: *error is an errno. */
bool udp_send_one(const struct udp_socket *socket, const struct addr *local, const struct addr *to,
                  const void *data, size_t len, int *error);

/* One send batch; owns its buffers. A queued datagram is sent when the batch is full or flushed. */
struct udp_out {
    struct udp_out_buffers *buffers;
    /* How long a flush may still wait, in all, for room in a socket buffer; 0 on the path, where a
     * datagram without room is lost. Set by the owner. */
    uint32_t wait_ms;
    uint64_t queued; /* datagrams, ever */
    int error;       /* why the latest one that failed did: an errno */
};

bool udp_out_init(struct udp_out *out) MUST_USE;
void udp_out_deinit(struct udp_out *out);

/* Room for a datagram of up to `size` bytes (at most UDP_DATAGRAM_MAX); may flush. Valid until the
 * next call on the batch. */
uint8_t *udp_out_room(struct udp_out *out, size_t size);

/* Queues the `len` bytes that the caller wrote to the room. local: source address to use, its port
 * is ignored; unset = the kernel's choice. If sending fails, *failed (if not NULL) is set; it must
 * stay valid until the flush. Returns the datagram's number, from 1. */
uint64_t udp_out_queue(struct udp_out *out, const struct udp_socket *socket,
                       const struct addr *local, const struct addr *to, size_t len, bool *failed);

/* Makes the datagram with that number longer. False, and nothing is done, if it is not the last one
 * of the batch any more, or would be longer than max_len. */
bool udp_out_append(struct udp_out *out, uint64_t number, const void *data, size_t len,
                    size_t max_len) MUST_USE;

void udp_out_flush(struct udp_out *out);

#endif
