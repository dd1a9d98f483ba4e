/* The way of a datagram, both directions. One worker's thread; the worker calls these functions and
 * nothing below them, and so do the tests. */
#ifndef DATAPATH_H
#define DATAPATH_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "count/counters.h"
#include "creds/generation.h"
#include "handshake/cookie.h"
#include "net/limit.h"
#include "net/udp.h"
#include "session/session.h"
#include "worker/datapath_tickets.h"

/* What strangers may cost a listener: this worker's share. */
struct datapath_limits {
    uint32_t handshake_max; /* at once */
    struct limit_bucket handshakes;
    struct limit_prefixes hellos;
};

struct datapath {
    const struct generation *generation; /* borrowed */
    struct worker_counters counters;     /* read by the metrics thread */
    struct backend backend;
    struct sessions sessions;
    struct cookie_front *fronts; /* one a listener */
    struct udp_out to_client;
    struct datapath_limits *limits; /* one a listener */
    struct datapath_tickets tickets;
    bool is_stopping;
};

/* Opens the backend socket and makes everything of one worker but its listening sockets.
 * port: that the first worker's backend socket has; no matter for the first. */
bool datapath_init(struct datapath *dp, const struct generation *generation,
                   const struct sessions_shared *shared, uint32_t worker, uint32_t worker_count,
                   uint16_t port, struct err *err) MUST_USE;
void datapath_deinit(struct datapath *dp);

/* A batch received on a listening socket of the listener. */
void datapath_from_client(struct datapath *dp, uint32_t listener, const struct udp_socket *socket,
                          const struct udp_in *batch, uint64_t now_ms);

/* A batch received on the backend socket. */
void datapath_from_backend(struct datapath *dp, const struct udp_in *batch, uint64_t now_ms);

/* Reads the backend socket's error queue. */
void datapath_backend_errors(struct datapath *dp, uint64_t now_ms);

/* Timers. Returns when to be called next, TIMERS_NONE = no need. */
uint64_t datapath_tick(struct datapath *dp, uint64_t now_ms);

/* Another worker asks for the end of a session. */
void datapath_end_session(struct datapath *dp, const struct identities_session *session,
                          uint64_t now_ms);

/* Says close_notify to every live session. What comes afterwards is counted as shutting_down. */
void datapath_stop(struct datapath *dp, uint64_t now_ms);

#endif
