/* A network in memory between devices, gate and backend: a virtual clock, loss, duplication,
 * reordering and delay, and a capture of every datagram. One network in the process;
 * fake_network_reset begins a new one. */
#ifndef FAKE_NETWORK_H
#define FAKE_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum direction { CLIENT_TO_GATE, GATE_TO_CLIENT, GATE_TO_BACKEND, BACKEND_TO_GATE };
enum { DIRECTION_COUNT = 4 };

enum mishap {
    NO_MISHAP,
    LOSE,
    DUPLICATE,
    OVERTAKE, /* the next datagram of that direction arrives first */
    DELAY,    /* by 5 s: whatever was repeated meanwhile arrives first */
};

/* A datagram that was sent, whether it arrived or not. */
struct packet {
    enum direction direction;
    uint32_t number; /* in its direction, from 0 */
    uint64_t sent_ms;
    struct addr from, to;
    uint8_t *data; /* memory of its own, of exactly len bytes */
    uint32_t len;
};

typedef void (*fake_network_fn)(void *context, const struct packet *packet);

/* Forgets everything; no packet of an earlier network may be used after it. */
void fake_network_reset(uint64_t now_ms);
/* on_arrival: each datagram that arrives; on_sent: each that is sent, before any mishap. */
void fake_network_set_handlers(fake_network_fn on_arrival, fake_network_fn on_sent, void *context);

/* One mishap, to the datagram with that number in that direction. */
void fake_network_plan(enum mishap mishap, enum direction direction, uint32_t number);
/* Mishaps at random between devices and gate, each in percent of datagrams. */
void fake_network_plan_random(uint64_t seed, unsigned lose, unsigned duplicate, unsigned overtake);
/* All is well from now on. */
void fake_network_plan_nothing(void);
/* One-way delay; 1 ms at the beginning. */
void fake_network_set_delay_ms(uint64_t delay_ms);
/* Longer datagrams between devices and gate are lost, as where ICMP is filtered; 0 = none is. */
void fake_network_set_max_bytes(uint32_t bytes);

void fake_network_send(enum direction direction, const struct addr *from, const struct addr *to,
                       const void *data, size_t len);

/* Moves the clock and delivers what is due. */
void fake_network_deliver(uint64_t now_ms);
/* When the next datagram is due, UINT64_MAX if none is on its way. */
uint64_t fake_network_next_due_ms(void);

/* Everything sent so far, in order. */
uint32_t fake_network_captured(void);
const struct packet *fake_network_packet(uint32_t index);
/* How many datagrams went that way; client NULL = of all. */
uint32_t fake_network_count(enum direction direction, const struct addr *client);
/* The last one that went that way, or NULL. */
const struct packet *fake_network_last(enum direction direction, const struct addr *client);

/* A copy in memory of exactly that size, so that a sanitizer sees every byte too far. */
uint8_t *fake_network_copy(const void *data, size_t len);

#endif
