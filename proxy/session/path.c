#include "session/path.h"

#include <string.h>

#include "session/session_log.h"
#include "wire/role.h"

/* Sessions with a connection ID do not need their place in the table of addresses: the latest has
 * it, so that a reboot of its device at this address is noticed. The others do need it, and a
 * record with somebody else's connection ID must not cost them anything. */
static void take_address(struct sessions *all, struct session *s)
{
    struct session *other = session_store_find(all, s->listener, &s->client);
    if (other != NULL && other->association.cid_len == 0)
        return;
    if (other != NULL)
        session_store_leave_address(all, other);
    /* Without memory for it, it is found by its connection ID all the same. */
    (void)!session_store_enter_address(all, s);
}

static void set_route(struct sessions *all, struct session *s, const struct arrival *a)
{
    s->route = routes_find(&all->routes, s->route, a->socket, &a->datagram->to) & ROUTES_MASK;
}

static void prove(struct sessions *all, struct session *s)
{
    struct session_rare *rare = session_rare(s);
    rare->is_unproved = false;
    if (ref_find(&rare->flight) == NULL)
        session_store_drop_rare(all, s);
}

bool path_on_authentic(struct sessions *all, struct session *s, const struct arrival *a,
                       bool is_newest)
{
    if (addr_equal(&a->datagram->from, &s->client)) {
        if (!path_is_proved(s))
            prove(all, s);
        if (is_newest)
            set_route(all, s, a);
        return false;
    }
    if (!is_newest)
        return false;
    struct session_rare *rare = session_store_rare(all, s);
    if (rare == NULL)
        return false; /* without memory to keep the bound, it stays where it was */
    session_log_moved(all, s, &a->datagram->from);
    counter_add(&session_counters(all, s)->address_changes, 1);
    session_store_leave_address(all, s);
    bool has_begun = association_begin_change(&s->association);
    s->client = a->datagram->from;
    set_route(all, s, a);
    rare->is_unproved = true;
    rare->received_bytes = a->datagram->len;
    rare->sent_bytes = 0;
    association_end_change(&s->association, has_begun);
    take_address(all, s);
    return true;
}

static bool may_send(struct session *s, size_t len)
{
    struct session_rare *rare = session_rare(s);
    if (path_is_proved(s))
        return true;
    if (rare->sent_bytes + len > (uint64_t)rare->received_bytes * PATH_AMPLIFICATION_MAX)
        return false;
    rare->sent_bytes += (uint32_t)len;
    return true;
}

bool path_send(struct sessions *all, struct session *s, const uint8_t *record, size_t len,
               uint64_t *datagram, bool *failed)
{
    const struct listener *listener = session_listener(all, s);
    enum role_phase phase =
        s->state == SESSION_NEW || s->state == SESSION_ESTABLISHED ? ROLE_SESSION : ROLE_ENDED;
    if (!role_may_send(listener->config->role, phase, record, len, 0)) {
        /* The policy held; that it had to is a bug of ours. */
        session_log_kept_back(all, s);
        return false;
    }
    if (!may_send(s, len))
        return false;
    if (udp_out_append(all->to_client, *datagram, record, len,
                       flight_datagram_max(listener, &s->client)))
        return true;
    const struct route *route = routes_get(&all->routes, s->route, s->listener);
    if (route == NULL) { /* its listener is gone; the session will be, soon */
        if (failed != NULL)
            *failed = true;
        return true;
    }
    memcpy(udp_out_room(all->to_client, len), record, len);
    *datagram = udp_out_queue(all->to_client, route->socket, &route->local, &s->client, len, failed,
                              &session_counters(all, s)->client_bytes_sent);
    return true;
}
