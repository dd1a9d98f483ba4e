/* Batches of datagrams: recvmmsg, sendmmsg, packet info. No meaning: what a datagram says is not
 * looked at. Linux only. */
#ifndef UDP_H
#define UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "count/counters.h"
#include "net/udp_socket.h"

#define UDP_BATCH 64
/* Longer ones may need fragments on their way to an IPv6 address. */
#define UDP_V6_WHOLE_MAX (1280 - 40 - 8)
#define UDP_DATAGRAM_MAX 65507 /* IPv4; what an IPv6 packet may hold more, no device sends */

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

/* True if this process may receive and send batches; a sandbox may forbid it. */
bool udp_try_batches(struct err *err) MUST_USE;

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
 * is ignored; unset = the kernel's choice. If sending fails, *failed is set; else *sent_bytes grows
 * by the datagram's length. Either may be NULL, and must stay valid until the flush. Returns the
 * datagram's number, from 1. */
uint64_t udp_out_queue(struct udp_out *out, const struct udp_socket *socket,
                       const struct addr *local, const struct addr *to, size_t len, bool *failed,
                       counter *sent_bytes);

/* Makes the datagram with that number longer. False, and nothing is done, if it is not the last one
 * of the batch any more, or would be longer than max_len. */
bool udp_out_append(struct udp_out *out, uint64_t number, const void *data, size_t len,
                    size_t max_len) MUST_USE;

void udp_out_flush(struct udp_out *out);

#endif
