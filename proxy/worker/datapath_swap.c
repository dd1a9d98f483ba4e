/* A worker's datapath goes over to another generation of settings and credentials, while sessions
 * and handshakes go on. */
#include <assert.h>

#include "base/log.h"
#include "count/counters_area.h"
#include "session/session_begin.h"
#include "session/session_end.h"
#include "session/session_timer.h"
#include "worker/datapath.h"

enum {
    /* What ends costs a record to its device, and a handshake the library's object. */
    ENDS_AT_ONCE = 16,
    LOOKS_AT_ONCE = 64,
};

/* ---- at once -------------------------------------------------------------------------------- */

static void set_listeners(struct datapath *dp)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        const struct listener *listener = generation_listener(dp->generation, i);
        if (listener == NULL) {
            dp->is_draining[i] = false; /* who gets the number next is not drained */
            continue;                   /* sessions may have the one before yet */
        }
        dp->listeners[i] = listener;
        if (listener->counts_anew)
            counters_reset(&dp->counters.by_listener[i]);
    }
}

static void set_fronts(struct datapath *dp)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++) {
        const struct listener *listener = generation_listener(dp->generation, i);
        if (dp->fronts[i].listener != NULL)
            cookie_deinit(&dp->fronts[i]);
        dp->fronts[i].listener = NULL;
        if (listener != NULL)
            cookie_init(&dp->fronts[i], listener, dp->generation->cookie_master);
    }
}

void datapath_look(struct datapath *dp)
{
    session_walk_end(&dp->sessions, &dp->swap_cursor);
    session_walk_begin(&dp->sessions, &dp->swap_cursor);
    dp->is_looking = true;
}

void datapath_swap(struct datapath *dp, struct generation *generation, uint64_t now_ms)
{
    assert(dp->generation_before == NULL);
    generation_keep(generation);
    dp->generation_before = dp->generation;
    dp->generation = generation;
    dp->log.now_ms = now_ms;
    set_listeners(dp);
    set_fronts(dp);
    admission_set(&dp->admission, generation, dp->worker_count);
    backend_set(&dp->backend, &generation->config->gate);
    dp->sessions.max = admission_share(generation->config->gate.max_sessions, dp->worker_count);
    datapath_look(dp);
}

/* ---- sockets that are closed ----------------------------------------------------------------- */

bool datapath_end_handshakes_at(struct datapath *dp, uint32_t listener,
                                const struct udp_socket *socket, uint64_t now_ms)
{
    bool is_more = handshakes_end_some(&dp->handshakes, listener, socket, ENDS_AT_ONCE, now_ms);
    datapath_flush(dp);
    return is_more;
}

void datapath_add_socket(struct datapath *dp, uint32_t listener, const struct udp_socket *socket)
{
    /* Without memory for that, sessions of a listener that has moved are not reached by it. */
    if (!routes_add_socket(&dp->sessions.routes, listener, socket))
        log_text(LOG_ERROR, "socket_unknown", "out of memory for a listening socket");
}

void datapath_remove_socket(struct datapath *dp, const struct udp_socket *socket)
{
    routes_remove_socket(&dp->sessions.routes, socket);
}

/* ---- a bit at a time ------------------------------------------------------------------------- */

/* By an address of that family its device can still be reached. */
static bool has_way(const struct listener *listener, const struct session *s)
{
    const struct addr_list *listen = &listener->config->listen;
    for (uint32_t i = 0; i < listen->count; i++)
        if (listen->addrs[i].family == s->client.family)
            return true;
    return false;
}

/* CLOSE_REASON_COUNT: it stays. */
static enum close_reason find_reason(const struct datapath *dp, const struct session *s)
{
    const struct listener *listener = generation_listener(dp->generation, s->listener);
    if (listener == NULL || !has_way(listener, s))
        return CLOSE_listener_removed;
    return session_is_admitted(s, listener) ? CLOSE_REASON_COUNT : CLOSE_revoked;
}

/* Sessions of a listener whose limit is new count from now on, those without one no more. */
static void set_identity(struct datapath *dp, struct session *s)
{
    const struct listener *before = dp->generation_before != NULL
                                        ? generation_listener(dp->generation_before, s->listener)
                                        : NULL;
    uint32_t limit = dp->listeners[s->listener]->config->sessions_per_identity;
    if (before == NULL || (before->config->sessions_per_identity == 0) == (limit == 0))
        return;
    if (limit != 0)
        session_count_for_identity(&dp->sessions, s);
    else
        session_leave_identity(&dp->sessions, s);
}

/* True if it has ended. */
static bool look_at(struct datapath *dp, struct session *s, uint64_t now_ms)
{
    enum close_reason reason = find_reason(dp, s);
    if (reason != CLOSE_REASON_COUNT) {
        session_end(&dp->sessions, s, reason, true, now_ms);
        return true;
    }
    set_identity(dp, s);
    session_timer_set(&dp->sessions, s);
    return false;
}

/* Handshakes whose listener is gone, first: no session begins there any more, then. */
static bool end_handshakes_of_removed(struct datapath *dp, uint64_t now_ms)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        if (dp->listeners[i] != NULL && generation_listener(dp->generation, i) == NULL &&
            handshakes_end_some(&dp->handshakes, i, NULL, ENDS_AT_ONCE, now_ms))
            return true;
    return false;
}

static bool evict_some(struct datapath *dp, uint64_t now_ms)
{
    for (int i = 0; i < ENDS_AT_ONCE && dp->sessions.count > dp->sessions.max; i++)
        session_end(&dp->sessions, session_store_least_used(&dp->sessions), CLOSE_evicted, true,
                    now_ms);
    return dp->sessions.count > dp->sessions.max;
}

static bool look_at_some(struct datapath *dp, uint64_t now_ms)
{
    uint32_t ends = 0;
    for (int i = 0; i < LOOKS_AT_ONCE && ends < ENDS_AT_ONCE && dp->is_looking; i++) {
        struct session *s = session_walk_next(&dp->sessions, &dp->swap_cursor);
        if (s == NULL)
            dp->is_looking = false;
        else
            ends += look_at(dp, s, now_ms);
    }
    return dp->is_looking;
}

void datapath_swap_end(struct datapath *dp)
{
    for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
        dp->listeners[i] = generation_listener(dp->generation, i);
    generation_give(dp->generation_before);
    dp->generation_before = NULL;
}

bool datapath_swap_on(struct datapath *dp, uint64_t now_ms)
{
    dp->log.now_ms = now_ms;
    bool is_more =
        end_handshakes_of_removed(dp, now_ms) || look_at_some(dp, now_ms) || evict_some(dp, now_ms);
    datapath_flush(dp);
    return is_more;
}
