#include "session/routes.h"

#include <stdlib.h>

enum {
    /* The last numbers are for sockets of which nothing is known yet: there are 512 at most. */
    KEPT_FREE = 512,
    /* The last one is no pair's: of a session for whose pair there was no number. */
    NO_PAIR = ROUTES_MAX - 1,
};

bool routes_init(struct routes *routes, struct state *state, struct err *err)
{
    *routes = (struct routes){.state = state};
    routes->at = calloc(ROUTES_MAX, sizeof(*routes->at));
    return routes->at != NULL || err_set(err, "out of memory for the ways to devices");
}

void routes_deinit(struct routes *routes)
{
    free(routes->at);
    free(routes->sockets);
    *routes = (struct routes){0};
}

/* ---- sockets -------------------------------------------------------------------------------- */

bool routes_add_socket(struct routes *routes, uint32_t listener, const struct udp_socket *socket)
{
    struct routes_socket *more =
        reallocarray(routes->sockets, routes->socket_count + 1, sizeof(*more));
    if (more == NULL)
        return false;
    routes->sockets = more;
    more[routes->socket_count++] = (struct routes_socket){.socket = socket, .listener = listener};
    return true;
}

void routes_remove_socket(struct routes *routes, const struct udp_socket *socket)
{
    for (uint32_t i = 0; i < ROUTES_MAX; i++) {
        if (routes->at[i].socket == socket)
            routes->at[i].socket = NULL;
    }
    for (uint32_t i = 0; i < routes->socket_count; i++) {
        if (routes->sockets[i].socket == socket)
            routes->sockets[i--] = routes->sockets[--routes->socket_count];
    }
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static uint32_t pair_count(const struct routes *routes)
{
    return atomic_load_explicit(&routes->state->header->route_count, memory_order_acquire);
}

/* ROUTES_MAX: it is none of the pairs from `first` on. */
static uint32_t find(const struct routes *routes, uint32_t first, const struct addr *bound,
                     const struct addr *local)
{
    const struct layout_route *pairs = routes->state->header->routes;
    uint32_t count = pair_count(routes);
    for (uint32_t i = first; i < count; i++) {
        if (addr_equal(&pairs[i].local, local) && addr_equal(&pairs[i].bound, bound))
            return i;
    }
    return ROUTES_MAX;
}

/* Up to that many; another worker may have added it since we looked. */
static uint32_t add(const struct routes *routes, uint32_t looked, const struct addr *bound,
                    const struct addr *local, uint32_t max)
{
    struct layout_header *header = routes->state->header;
    pthread_mutex_lock(&routes->state->route_mutex);
    uint32_t number = find(routes, looked, bound, local), count = pair_count(routes);
    if (number == ROUTES_MAX && count < max) {
        number = count;
        header->routes[number] = (struct layout_route){.bound = *bound, .local = *local};
        atomic_store_explicit(&header->route_count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&routes->state->route_mutex);
    return number;
}

static uint32_t find_or_add(const struct routes *routes, const struct addr *bound,
                            const struct addr *local, uint32_t max)
{
    uint32_t looked = pair_count(routes), number = find(routes, 0, bound, local);
    return number != ROUTES_MAX ? number : add(routes, looked, bound, local, max);
}

uint32_t routes_find(struct routes *routes, uint32_t likely, const struct udp_socket *socket,
                     const struct addr *to)
{
    static const struct addr any = {0};
    const struct route *known = &routes->at[likely];
    struct addr local = *to;
    local.port = 0;
    if (known->socket == socket && addr_equal(&known->local, &local))
        return likely;
    uint32_t number = find_or_add(routes, &socket->bound, &local, NO_PAIR - KEPT_FREE);
    if (number == ROUTES_MAX) {
        number = find_or_add(routes, &socket->bound, &any, NO_PAIR);
        local = any;
    }
    if (number >= NO_PAIR)
        return NO_PAIR;
    routes->at[number] = (struct route){.socket = socket, .local = local};
    return number;
}

/* ---- the way -------------------------------------------------------------------------------- */

/* The one that is bound to the address, else one of the listener, rather of that family. */
static const struct udp_socket *choose(const struct routes *routes, const struct addr *bound,
                                       uint32_t listener)
{
    const struct udp_socket *chosen = NULL;
    for (uint32_t i = 0; i < routes->socket_count; i++) {
        const struct udp_socket *socket = routes->sockets[i].socket;
        if (addr_equal(&socket->bound, bound))
            return socket;
        if (routes->sockets[i].listener == listener &&
            (chosen == NULL || chosen->bound.family != bound->family))
            chosen = socket;
    }
    return chosen;
}

const struct route *routes_get(struct routes *routes, uint32_t number, uint32_t listener)
{
    struct route *route = &routes->at[number];
    if (route->socket != NULL)
        return route;
    struct layout_route pair = {0};
    if (number < NO_PAIR && number < pair_count(routes))
        pair = routes->state->header->routes[number];
    const struct udp_socket *socket = choose(routes, &pair.bound, listener);
    if (socket == NULL)
        return NULL;
    bool is_it = addr_equal(&socket->bound, &pair.bound);
    if (!is_it)
        route = &routes->other;
    *route = (struct route){.socket = socket};
    if (is_it)
        route->local = pair.local;
    return route;
}
