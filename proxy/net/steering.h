/* Which worker's socket a datagram arrives at: a rule that the kernel follows by a classic-BPF
 * program, and the same rule in C. Pure but for attaching the programs.
 *
 * All that arrives falls into one of 4,096 buckets, and a bucket belongs to a worker. A session
 * stays in the bucket of the address at which its device began it: its connection ID begins with
 * the bucket's number, and its address toward the backend ends with it. So all three name the same
 * worker, however many there are. */
#ifndef STEERING_H
#define STEERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum {
    STEERING_BUCKET_BITS = 12,
    STEERING_BUCKETS = 1 << STEERING_BUCKET_BITS,
    STEERING_CID_MIN = 2, /* bytes, so that the bucket's number is in it */
};

/* The sockets of one address (SO_REUSEPORT), counted in the order in which they were bound: of each
 * worker one for its sessions and, with hello sockets, one for its ClientHellos. So those of
 * further workers can follow, and those of the last ones be closed. */
struct steering {
    uint32_t worker_count;
    uint32_t cid_length; /* of the gate's own CIDs at this listener; 0 = none, else at least
                            STEERING_CID_MIN */
    bool has_hello_sockets;
    bool is_v4;
};

/* Of a device's address and port. */
uint32_t steering_bucket_of_addr(const struct addr *from);

/* Of one of the gate's own CIDs: its first 12 bits. */
uint32_t steering_bucket_of_cid(const uint8_t *cid, size_t len);
/* Makes a CID one of that bucket; its other bits stay as they are. */
void steering_put_bucket(uint8_t *cid, uint32_t bucket);

/* Of an IPv4 address that a backend sends to: its last 12 bits. */
uint32_t steering_bucket_of_backend(const struct addr *to);

uint32_t steering_worker_of_bucket(uint32_t bucket, uint32_t worker_count);

/* The bucket itself if it is the worker's, else one near it that is: for a device that is steered
 * here although its address says otherwise, as behind a long chain of IPv6 extension headers. */
uint32_t steering_bucket_of_worker(uint32_t bucket, uint32_t worker, uint32_t worker_count);

/* The number of the socket that a datagram arrives at. */
uint32_t steering_socket_of(const struct steering *steering, const struct addr *from,
                            const uint8_t *data, size_t len);

/* Has the kernel steer by this rule; fd is any socket of the address. */
bool steering_attach(int fd, const struct steering *steering, struct err *err) MUST_USE;

/* The same for the sockets toward the backends, counted in the order in which they were bound: one
 * of each worker, at least two. */
bool steering_attach_backend(int fd, uint32_t worker_count, struct err *err) MUST_USE;

/* True if this kernel takes steering programs; err says what it answered. */
bool steering_is_possible(struct err *err) MUST_USE;

#endif
