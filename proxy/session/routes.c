#include "session/routes.h"

#include <stdlib.h>

enum {
    CAPACITY_MIN = 16,
    /* The last ones are for sockets of which nothing is known yet: there are 512 at most. */
    KEPT_FREE = 512,
};

void routes_deinit(struct routes *routes)
{
    free(routes->at);
    *routes = (struct routes){0};
}

const struct route *routes_get(const struct routes *routes, uint32_t number)
{
    return &routes->at[number];
}

static bool is_same(const struct route *route, const struct udp_socket *socket,
                    const struct addr *local)
{
    return route->socket == socket && addr_equal(&route->local, local);
}

static bool grow(struct routes *routes)
{
    uint32_t capacity = routes->capacity == 0 ? CAPACITY_MIN : routes->capacity * 2;
    struct route *grown = reallocarray(routes->at, capacity, sizeof(*grown));
    if (grown == NULL)
        return false;
    routes->at = grown;
    routes->capacity = capacity;
    return true;
}

/* ROUTES_MAX: there is none. */
static uint32_t find(const struct routes *routes, const struct udp_socket *socket,
                     const struct addr *local)
{
    for (uint32_t i = 0; i < routes->count; i++)
        if (is_same(&routes->at[i], socket, local))
            return i;
    return ROUTES_MAX;
}

static uint32_t add(struct routes *routes, const struct udp_socket *socket,
                    const struct addr *local)
{
    if (routes->count == ROUTES_MAX || (routes->count == routes->capacity && !grow(routes)))
        return ROUTES_MAX;
    routes->at[routes->count] = (struct route){.socket = socket, .local = *local};
    return routes->count++;
}

uint32_t routes_find(struct routes *routes, uint32_t likely, const struct udp_socket *socket,
                     const struct addr *to)
{
    static const struct addr any = {0};
    struct addr local = *to;
    local.port = 0;
    if (likely < routes->count && is_same(&routes->at[likely], socket, &local))
        return likely;
    uint32_t number = find(routes, socket, &local);
    if (number == ROUTES_MAX && routes->count < ROUTES_MAX - KEPT_FREE)
        number = add(routes, socket, &local);
    if (number == ROUTES_MAX)
        number = find(routes, socket, &any);
    if (number == ROUTES_MAX)
        number = add(routes, socket, &any);
    return number != ROUTES_MAX ? number : 0;
}
