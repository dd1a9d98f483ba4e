/* What workers are told: how to begin, and what to go over to. */
#ifndef WORKER_SETTINGS_H
#define WORKER_SETTINGS_H

#include <stdatomic.h>
#include <stdint.h>

#include "creds/generation.h"
#include "net/udp_socket.h"
#include "session/identities.h"
#include "state/state.h"

struct worker;

/* How often a worker shows in its counters that it goes round its loop, even if no datagram comes.
 */
enum { WORKER_BEAT_MS = 1000 };

/* The sockets of one address, of one worker. */
struct worker_sockets {
    uint32_t listener; /* number */
    struct udp_socket sessions;
    struct udp_socket hellos; /* fd = -1: ClientHellos arrive at the other one */
};

/* All is borrowed, as long as the worker, but for what `sockets` points to. */
struct worker_settings {
    struct generation *generation;
    struct state *state; /* where sessions lie, and all that outlives us */
    struct identities *identities;
    struct worker *const *workers; /* all of them, by index, when the first one is started */
    const struct worker_sockets *sockets;
    uint32_t socket_count;
    const struct udp_socket *backend;
    uint32_t index, count;
};

/* What a worker is to go over to. The main thread's, which changes nothing of it and keeps it until
 * the worker has done it, or has been joined. */
struct worker_swap {
    struct generation *generation;
    const struct worker_sockets *sockets;
    uint32_t socket_count;
    /* All sessions have been looked at; sockets that are not in it are read out, and may be closed.
     * The worker writes. */
    _Atomic bool is_done;
    /* Called by the worker's thread when that is so. */
    void (*wake)(void *context);
    void *context;
};

#endif
