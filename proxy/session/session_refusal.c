#include "session/session_refusal.h"

#include <string.h>

#include "session/session.h"
#include "wire/role.h"

/* What is kept for the device, or NULL. */
static struct session_refusal *find(struct sessions *all, const struct listener *listener,
                                    const struct addr *client)
{
    struct session_refusals *kept = &all->refusals;
    if (all->now_ms >= kept->end_ms)
        return NULL;
    for (uint32_t i = 0; i < SESSION_REFUSALS_MAX; i++) {
        struct session_refusal *r = &kept->at[i];
        if (all->now_ms < r->end_ms && r->listener == listener->index &&
            addr_equal(&r->client, client))
            return r;
    }
    return NULL;
}

void session_refusal_keep(struct session *s)
{
    struct session_refusals *kept = &s->all->refusals;
    size_t len;
    const uint8_t *alert = session_flight_last_record(s, &len);
    if (!dtls_has_sent_alert(s->dtls) || alert == NULL)
        return;
    uint64_t now_ms = s->all->now_ms;
    struct session_refusal *r = &kept->at[kept->next];
    kept->next = (kept->next + 1) % SESSION_REFUSALS_MAX;
    kept->end_ms = now_ms + SESSION_REFUSAL_MS;
    *r = (struct session_refusal){
        .client = s->entry.key.client,
        .local = s->path.local,
        .socket = s->path.socket,
        .end_ms = kept->end_ms,
        .due_ms = now_ms + SESSION_REFUSAL_INTERVAL_MS,
        .listener = s->listener->index,
        .alert_len = (uint8_t)len,
    };
    memcpy(r->alert, alert, len);
}

void session_refusal_forget(struct sessions *all, const struct listener *listener,
                            const struct addr *client)
{
    struct session_refusal *r = find(all, listener, client);
    if (r != NULL)
        r->end_ms = 0;
}

bool session_refusal_repeat(struct sessions *all, const struct listener *listener,
                            const struct udp_datagram *datagram)
{
    struct session_refusal *r = find(all, listener, &datagram->from);
    if (r == NULL || r->repeats == SESSION_REFUSAL_REPEATS || all->now_ms < r->due_ms ||
        !role_may_send(listener->config->role, ROLE_REFUSED, r->alert, r->alert_len, datagram->len))
        return false;
    r->repeats++;
    r->due_ms = all->now_ms + SESSION_REFUSAL_INTERVAL_MS;
    memcpy(udp_out_room(all->to_client, r->alert_len), r->alert, r->alert_len);
    udp_out_queue(all->to_client, r->socket, &r->local, &r->client, r->alert_len, NULL);
    return true;
}
