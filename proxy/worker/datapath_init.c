/* Beginning and end of a worker's datapath. */
#include "worker/datapath.h"

#include <stdlib.h>
#include <string.h>

#include "count/counters_area.h"

static bool is_cid_taken(void *context, const struct listener *listener, const uint8_t *cid)
{
    const struct datapath *dp = context;
    return sessions_find_cid(&dp->sessions, listener, cid) != NULL;
}

static bool init_handshakes(struct datapath *dp, const struct datapath_shared *shared,
                            struct err *err)
{
    struct layout_worker *own = state_worker(shared->state, dp->worker);
    const struct handshakes_settings settings = {
        .worker = dp->worker,
        .worker_count = dp->worker_count,
        .listener_count = LAYOUT_LISTENERS_MAX,
        .first_number = state_first_number(shared->state, dp->worker),
        .last_number = &own->last_number,
        .to_client = &dp->to_client,
        .slabs = &dp->slabs,
        .counters = &dp->counters,
        .is_cid_taken = is_cid_taken,
        .context = dp,
    };
    return handshakes_init(&dp->handshakes, &settings, err);
}

static bool init_sessions(struct datapath *dp, const struct datapath_shared *shared,
                          struct err *err)
{
    const struct sessions_settings settings = {
        .worker = dp->worker,
        .worker_count = dp->worker_count,
        .session_max = admission_share(dp->generation->config->gate.max_sessions, dp->worker_count),
        .listeners = dp->listeners,
        .identities = shared->identities,
        .end_elsewhere = shared->end_elsewhere,
        .context = shared->context,
        .backend = &dp->backend,
        .to_client = &dp->to_client,
        .state = shared->state,
        .counters = &dp->counters,
    };
    return sessions_init(&dp->sessions, &settings, err);
}

static bool init_fronts(struct datapath *dp)
{
    dp->fronts = calloc(LAYOUT_LISTENERS_MAX, sizeof(*dp->fronts));
    for (uint32_t i = 0; dp->fronts != NULL && i < LAYOUT_LISTENERS_MAX; i++)
        if (dp->listeners[i] != NULL)
            cookie_init(&dp->fronts[i], dp->listeners[i], dp->generation->cookie_master);
    return dp->fronts != NULL;
}

static bool init(struct datapath *dp, const struct datapath_shared *shared,
                 const struct udp_socket *socket, struct err *err)
{
    dp->counters = counters_area_of(shared->state, dp->worker);
    if (!init_fronts(dp) || !udp_out_init(&dp->to_client))
        return err_set(err, "out of memory for worker %u", dp->worker);
    return init_handshakes(dp, shared, err) && init_sessions(dp, shared, err) &&
           admission_init(&dp->admission, dp->generation, dp->worker_count, err) &&
           backend_open(&dp->backend, shared->state, &dp->generation->config->gate, dp->worker,
                        dp->worker_count, socket, &dp->counters, err);
}

bool datapath_init(struct datapath *dp, struct generation *generation,
                   const struct datapath_shared *shared, uint32_t worker, uint32_t worker_count,
                   const struct udp_socket *socket, struct err *err)
{
    *dp =
        (struct datapath){.generation = generation, .worker = worker, .worker_count = worker_count};
    memcpy(dp->listeners, generation->by_number, sizeof(dp->listeners));
    slabs_init(&dp->slabs);
    datapath_log_init(&dp->log);
    generation_keep(generation);
    if (init(dp, shared, socket, err))
        return true;
    datapath_deinit(dp);
    return false;
}

bool datapath_adopt(struct datapath *dp, struct sessions_adopt *adopt, uint64_t now_ms,
                    struct sessions_adopted *adopted, struct err *err)
{
    if (!backend_adopt(&dp->backend, now_ms, err) ||
        !sessions_adopt(&dp->sessions, adopt, now_ms, adopted, err))
        return false;
    /* Of sessions that were never complete, or are lost. */
    (void)backend_adopt_end(&dp->backend, CLOSE_torn, now_ms);
    datapath_look(dp); /* keys may have been withdrawn meanwhile */
    return true;
}

void datapath_adopt_sweep(struct datapath *dp, struct sessions_adopt *adopt)
{
    sessions_adopt_sweep(&dp->sessions, adopt);
}

/* The farewells of many sessions are more than a socket buffer holds. The gate ends within 5 s. */
enum { FAREWELL_WAIT_MS = 3000 };

void datapath_stop(struct datapath *dp, uint64_t now_ms)
{
    dp->is_stopping = true;
    dp->to_client.wait_ms = FAREWELL_WAIT_MS;
    handshakes_end_all(&dp->handshakes, now_ms);
    sessions_end_all(&dp->sessions, now_ms);
    udp_out_flush(&dp->to_client);
    handshakes_reap(&dp->handshakes);
    sessions_reap(&dp->sessions);
}

void datapath_leave(struct datapath *dp, uint64_t now_ms)
{
    dp->is_stopping = true;
    handshakes_end_all(&dp->handshakes, now_ms);
    udp_out_flush(&dp->to_client);
    handshakes_reap(&dp->handshakes);
    sessions_reap(&dp->sessions);
}

void datapath_deinit(struct datapath *dp)
{
    handshakes_deinit(&dp->handshakes);
    sessions_deinit(&dp->sessions);
    backend_close(&dp->backend);
    for (uint32_t i = 0; dp->fronts != NULL && i < LAYOUT_LISTENERS_MAX; i++)
        if (dp->fronts[i].listener != NULL)
            cookie_deinit(&dp->fronts[i]);
    udp_out_deinit(&dp->to_client);
    admission_deinit(&dp->admission);
    slabs_deinit(&dp->slabs);
    if (dp->generation_before != NULL)
        generation_give(dp->generation_before);
    generation_give(dp->generation);
    free(dp->fronts);
    dp->fronts = NULL;
}
