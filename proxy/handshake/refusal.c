#include "handshake/refusal.h"

#include <string.h>

#include "wire/role.h"

/* What is kept for the device, or NULL. */
static struct refusal *find(struct refusals *kept, uint32_t listener, const struct addr *client,
                            uint64_t now_ms)
{
    if (now_ms >= kept->end_ms)
        return NULL;
    for (uint32_t i = 0; i < REFUSALS_MAX; i++) {
        struct refusal *r = &kept->at[i];
        if (now_ms < r->end_ms && r->listener == listener && addr_equal(&r->client, client))
            return r;
    }
    return NULL;
}

void refusal_keep(struct refusals *kept, const struct flight *flight, uint64_t now_ms)
{
    size_t len;
    const struct flight_way *way = &flight->way;
    const uint8_t *alert = flight_last_record(flight, &len);
    if (!dtls_has_sent_alert(way->dtls) || alert == NULL)
        return;
    struct refusal *r = &kept->at[kept->next];
    kept->next = (kept->next + 1) % REFUSALS_MAX;
    kept->end_ms = now_ms + REFUSAL_MS;
    *r = (struct refusal){
        .client = way->client,
        .end_ms = kept->end_ms,
        .due_ms = now_ms + REFUSAL_INTERVAL_MS,
        .listener = way->listener->number,
        .alert_len = (uint8_t)len,
    };
    memcpy(r->alert, alert, len);
}

void refusal_forget(struct refusals *kept, uint32_t listener, const struct addr *client,
                    uint64_t now_ms)
{
    struct refusal *r = find(kept, listener, client, now_ms);
    if (r != NULL)
        r->end_ms = 0;
}

bool refusal_repeat(struct refusals *kept, const struct arrival *a, struct udp_out *to_client,
                    counter *sent_bytes)
{
    struct refusal *r = find(kept, a->listener->number, &a->datagram->from, a->now_ms);
    if (r == NULL || r->repeats == REFUSAL_REPEATS || a->now_ms < r->due_ms ||
        !role_may_send(a->listener->config->role, ROLE_REFUSED, r->alert, r->alert_len,
                       a->datagram->len))
        return false;
    r->repeats++;
    r->due_ms = a->now_ms + REFUSAL_INTERVAL_MS;
    memcpy(udp_out_room(to_client, r->alert_len), r->alert, r->alert_len);
    udp_out_queue(to_client, a->socket, &a->datagram->to, &r->client, r->alert_len, NULL,
                  sent_bytes);
    return true;
}
