/* All sockets of the gate, of all workers: opened, taken over from the process before, steered and
 * closed here, by the main thread. Workers watch them.
 *
 * Names in a handover (handover.h): backend-W for the socket of worker W toward the backends; for
 * the others see sockets_address.h. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/fd_list.h"
#include "creds/generation.h"
#include "run/sockets_address.h"
#include "worker/worker.h"

/* Those for one generation of settings. */
struct sockets {
    struct sockets_entry {
        struct sockets_address *address;
        uint32_t listener, cid_bytes;
    } * entries; /* owned */
    uint32_t entry_count;
    struct udp_socket *backends; /* owned; shared by all objects: backend_users */
    uint32_t *backend_users;
    uint32_t backend_count; /* as pair_count of an address */
    uint32_t worker_count;
    bool has_hello_sockets;
};

/* Opens what the generation needs, or takes it from the process before. may_steer: the kernel can;
 * else there is one worker, whose sessions share a queue with strangers. The state says which port
 * servers know, and keeps it. The caller owns the result. NULL with err: nothing is open that was
 * not before. */
struct sockets *sockets_open(const struct generation *generation, struct state *state,
                             uint32_t worker_count, bool may_steer, struct handover *handover,
                             struct err *err) MUST_USE;

/* The same for settings that follow: shares what is needed on with `before`, opens the rest. NULL
 * with err: all is as before, also how the kernel steers. */
struct sockets *sockets_change(struct sockets *before, const struct generation *generation,
                               struct err *err) MUST_USE;

/* What arrived while another number of workers had the inherited sockets, each datagram for the
 * worker that it is for; then closes those that are too many. When the workers are open and not
 * started. */
bool sockets_give_waiting(struct sockets *sockets, struct worker *const *workers,
                          struct err *err) MUST_USE;

/* The settings that follow do not come into force: closes what sockets_change() has opened, and the
 * kernel steers by those of `before` again. */
void sockets_change_back(struct sockets *sockets, const struct sockets *before);

/* Fills at[0..entry_count-1] with those of that worker. */
void sockets_of_worker(const struct sockets *sockets, uint32_t worker, struct worker_sockets *at);

/* Adds all to the list, with their names. False: out of memory. */
bool sockets_list(const struct sockets *sockets, struct fd_list *list, struct err *err) MUST_USE;

/* Closes what no other object shares. NULL is harmless. */
void sockets_close(struct sockets *sockets);

#endif
