/* Beginning and end of a worker's datapath, and its shares of the limits. */
#include "worker/datapath.h"

#include <stdlib.h>

/* Of sessions that are parked, until parking goes: sessions that need none take its place. */
enum { PARK_AFTER_MS = 30000, LIVE_SESSIONS = 20000 };

/* A worker's share of a limit over all workers, at least 1. */
static uint32_t share(uint32_t limit, uint32_t worker_count)
{
    return (limit + worker_count - 1) / worker_count;
}

/* Devices of one network come to few workers, so that a small share would refuse them early. */
enum { PREFIX_SHARE_MIN = 4 };

static bool init_limits(struct datapath *dp, const struct listener *listener, struct err *err)
{
    const struct listener_config *config = listener->config;
    struct datapath_limits *limits = &dp->limits[listener->index];
    uint32_t worker_count = dp->sessions.worker_count;
    uint32_t hellos_per_s = share(config->hellos_per_prefix_per_s, worker_count);
    if (hellos_per_s != 0 && hellos_per_s < PREFIX_SHARE_MIN)
        hellos_per_s = PREFIX_SHARE_MIN;
    limits->handshake_max = share(config->max_handshakes, worker_count);
    limits->handshakes.per_s = share(config->handshakes_per_s, worker_count);
    return limit_prefixes_init(&limits->hellos, hellos_per_s, err);
}

bool datapath_init(struct datapath *dp, const struct generation *generation,
                   const struct sessions_shared *shared, uint32_t worker, uint32_t worker_count,
                   uint16_t port, struct err *err)
{
    uint32_t listener_count = generation->config->listener_count;
    *dp = (struct datapath){.generation = generation};
    dp->backend.socket.fd = -1;
    dp->counters.listener_count = listener_count;
    dp->counters.by_listener = calloc(listener_count + 1, sizeof(*dp->counters.by_listener));
    dp->fronts = calloc(listener_count, sizeof(*dp->fronts));
    dp->limits = calloc(listener_count, sizeof(*dp->limits));
    struct sessions_limits limits = {.worker = worker,
                                     .worker_count = worker_count,
                                     .session_max =
                                         share(generation->config->gate.max_sessions, worker_count),
                                     .live_max = share(LIVE_SESSIONS, worker_count),
                                     .park_after_ms = PARK_AFTER_MS,
                                     .shared = *shared};
    if (!sessions_init(&dp->sessions, &limits, &dp->backend, &dp->to_client, &dp->counters, err)) {
        datapath_deinit(dp);
        return false;
    }
    if (dp->counters.by_listener == NULL || dp->fronts == NULL || dp->limits == NULL ||
        !udp_out_init(&dp->to_client)) {
        datapath_deinit(dp);
        return err_set(err, "out of memory for worker %u", worker);
    }
    for (uint32_t i = 0; i < listener_count; i++) {
        cookie_init(&dp->fronts[i], &generation->listeners[i], generation->cookie_master);
        if (!init_limits(dp, &generation->listeners[i], err)) {
            datapath_deinit(dp);
            return false;
        }
    }
    if (!backend_open(&dp->backend, generation->config, worker, worker_count, port, &dp->counters,
                      err)) {
        datapath_deinit(dp);
        return false;
    }
    return true;
}

/* The farewells of many sessions are more than a socket buffer holds. The gate ends within 5 s. */
enum { FAREWELL_WAIT_MS = 3000 };

void datapath_stop(struct datapath *dp, uint64_t now_ms)
{
    dp->sessions.now_ms = now_ms;
    dp->is_stopping = true;
    dp->to_client.wait_ms = FAREWELL_WAIT_MS;
    sessions_end_all(&dp->sessions);
    udp_out_flush(&dp->to_client);
    sessions_reap(&dp->sessions);
}

void datapath_deinit(struct datapath *dp)
{
    sessions_deinit(&dp->sessions);
    backend_close(&dp->backend);
    for (uint32_t i = 0; dp->fronts != NULL && i < dp->counters.listener_count; i++)
        cookie_deinit(&dp->fronts[i]);
    udp_out_deinit(&dp->to_client);
    free(dp->fronts);
    for (uint32_t i = 0; dp->limits != NULL && i < dp->counters.listener_count; i++)
        limit_prefixes_deinit(&dp->limits[i].hellos);
    free(dp->limits);
    free(dp->counters.by_listener);
    dp->fronts = NULL;
    dp->limits = NULL;
    dp->counters.by_listener = NULL;
}
