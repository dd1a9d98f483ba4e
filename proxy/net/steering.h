/* Which socket of a listening address a datagram arrives at: a rule that the kernel follows by a
 * classic-BPF program, and the same rule in C. Pure but for attaching the program. */
#ifndef STEERING_H
#define STEERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

/* The sockets of one address (SO_REUSEPORT), counted in the order in which they were bound: first
 * one for the sessions of each worker, then, with hello sockets, one for its ClientHellos. */
struct steering {
    uint32_t worker_count;
    uint32_t cid_length; /* of the gate's own CIDs at this listener; 0 = it gives out none */
    bool has_hello_sockets;
    bool is_v4;
};

/* The worker of a datagram that is steered by its source address and port. */
uint32_t steering_worker_of_addr(const struct addr *from, uint32_t worker_count);

/* The worker of a record that carries this CID. CIDs are random, so their first bytes are hash
 * enough; and as there are at most 256 workers, every worker has CIDs of one byte too. */
uint32_t steering_worker_of_cid(const uint8_t *cid, size_t len, uint32_t worker_count);

/* The number of the socket that a datagram arrives at. */
uint32_t steering_socket_of(const struct steering *steering, const struct addr *from,
                            const uint8_t *data, size_t len);

/* Has the kernel steer by this rule; fd is any socket of the address. */
bool steering_attach(int fd, const struct steering *steering, struct err *err) MUST_USE;

/* True if this kernel takes steering programs; err says what it answered. */
bool steering_is_possible(struct err *err) MUST_USE;

#endif
