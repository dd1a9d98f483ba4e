/* The sockets of all workers at one listening address: opened, taken over from the process before,
 * closed. Main thread.
 *
 * Names in a handover (handover.h): listen-W-s-ADDRESS and listen-W-h-ADDRESS, for sessions and for
 * ClientHellos of worker W. Which address that is, the socket tells itself; in the name it is in
 * hex, so that names are unique. */
#ifndef SOCKETS_ADDRESS_H
#define SOCKETS_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/fd_list.h"
#include "net/udp_socket.h"

struct handover;

struct sockets_address {
    struct addr addr;
    uint32_t users;      /* objects that share it */
    uint32_t pair_count; /* workers; more while those of a process that had more are read */
    struct sockets_pair {
        struct udp_socket sessions, hellos; /* fd = -1: not there */
    } * pairs;                              /* owned */
    bool is_inherited;
};

/* What an address is to be opened for, and what there is already. All borrowed. */
struct sockets_wish {
    uint32_t worker_count;
    bool has_hello_sockets;
    const struct fd_list *before; /* listening sockets of settings before; NULL = none */
    struct handover *handover;    /* from the process before; NULL = none */
};

/* Opens its sockets, or takes them from the process before, if none is missing: else nobody knows
 * in which order the kernel counts the others, and they are opened anew. The caller is its first
 * user. NULL with err: nothing is open that was not before. */
struct sockets_address *sockets_address_open(const struct addr *addr,
                                             const struct sockets_wish *wish,
                                             struct err *err) MUST_USE;

/* Throws away what arrived at new sockets before the kernel knew whose it is. */
void sockets_address_discard(const struct sockets_address *address);

/* Adds those of a worker to the list, with their names. False: out of memory. */
bool sockets_address_list(const struct sockets_address *address, uint32_t worker,
                          struct fd_list *list, struct err *err) MUST_USE;

/* Closes those of workers from `count` on. */
void sockets_address_shrink(struct sockets_address *address, uint32_t count);

/* One user less; the last one closes and frees. NULL is harmless. */
void sockets_address_leave(struct sockets_address *address);

#endif
