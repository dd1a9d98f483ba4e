/* Takes the place of udp.c: sockets in memory, a network between devices, gate and backend with
 * a virtual clock, loss, duplication, reordering and delay, and a capture of every datagram. One
 * network in the process; fake_udp_reset begins a new one.
 *
 * udp_out_room() gives memory of exactly the size that was asked for, and udp_receive() datagrams
 * in memory of exactly their size, so that an address sanitizer sees every byte too far. */
#ifndef FAKE_UDP_H
#define FAKE_UDP_H

#include "udp.h"

enum direction { CLIENT_TO_GATE, GATE_TO_CLIENT, GATE_TO_BACKEND, BACKEND_TO_GATE };
enum { DIRECTION_COUNT = 4 };

enum mishap {
    NO_MISHAP,
    LOSE,
    DUPLICATE,
    OVERTAKE, /* the next datagram of that direction arrives first */
};

/* A datagram that was sent, whether it arrived or not. */
struct packet {
    enum direction direction;
    uint32_t number; /* in its direction, from 0 */
    uint64_t sent_ms;
    struct addr from, to;
    uint8_t *data; /* memory of its own, of exactly len bytes */
    uint32_t len;
    bool is_lost;
};

/* Called for each datagram that arrives at a device or backend. */
typedef void (*fake_udp_arrival_fn)(void *context, const struct packet *packet);

/* Called for each datagram that the gate sends, before any mishap. */
typedef void (*fake_udp_sent_fn)(void *context, const struct packet *packet);

/* Forgets everything; nothing of an earlier network may be used after it. */
void fake_udp_reset(uint64_t now_ms);
void fake_udp_set_handlers(fake_udp_arrival_fn on_arrival, fake_udp_sent_fn on_sent, void *context);

/* One mishap, to the datagram with that number in that direction. */
void fake_udp_plan(enum mishap mishap, enum direction direction, uint32_t number);
/* Mishaps at random between devices and gate, each in percent of datagrams. */
void fake_udp_plan_random(uint64_t seed, unsigned lose, unsigned duplicate, unsigned overtake);
/* All is well from now on. */
void fake_udp_plan_nothing(void);
/* One-way delay; 1 ms at the beginning. */
void fake_udp_set_delay_ms(uint64_t delay_ms);

/* The kernel takes no datagram in that direction as long as this is set. */
void fake_udp_refuse(enum direction direction, bool is_refused);
/* Puts an entry on the backend socket's error queue. */
void fake_udp_add_error(const struct addr *local, int error);
/* The next batch received on any socket reports this many drops. */
void fake_udp_add_kernel_drops(uint32_t drops);

/* Sends from a device or a backend. */
void fake_udp_send(enum direction direction, const struct addr *from, const struct addr *to,
                   const void *data, size_t len);

/* Moves the clock and delivers what is due: to the handler, or to a socket's queue. */
void fake_udp_deliver(uint64_t now_ms);
/* When the next datagram is due, UINT64_MAX if none is on its way. */
uint64_t fake_udp_next_due_ms(void);

/* A batch of one datagram that the caller has, in memory of its own. */
void fake_udp_fill(struct udp_in *in, const struct addr *from, const struct addr *to,
                   const void *data, size_t len);

/* Everything sent so far, in order. */
uint32_t fake_udp_captured(void);
const struct packet *fake_udp_packet(uint32_t index);
/* How many datagrams went that way; client NULL = of all. */
uint32_t fake_udp_count(enum direction direction, const struct addr *client);
/* The last one that went that way, or NULL. */
const struct packet *fake_udp_last(enum direction direction, const struct addr *client);

#endif
