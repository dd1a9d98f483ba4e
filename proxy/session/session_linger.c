#include "session/session_linger.h"

#include <string.h>

#include "session/session.h"

static struct session_linger *at(struct session_lingers *kept, uint32_t i)
{
    return &kept->at[(kept->oldest + i) % SESSION_LINGERS_MAX];
}

/* Its place is free when it is the oldest. */
static void end(struct session_linger *l)
{
    dtls_free(l->dtls);
    l->dtls = NULL;
}

static void drop_oldest(struct session_lingers *kept)
{
    end(at(kept, 0));
    kept->oldest = (kept->oldest + 1) % SESSION_LINGERS_MAX;
    kept->count--;
}

/* An acknowledgement, an alert or a repeated ticket: after its end nothing goes to the device. */
static void send_nothing(void *owner, const uint8_t *record, size_t len)
{
    (void)owner;
    (void)record;
    (void)len;
}

void session_linger_begin(struct session *s)
{
    struct session_lingers *kept = &s->all->lingers;
    struct dtls_record_number closure = dtls_current(s->dtls);
    if (!dtls_has_gap_before(s->dtls, closure))
        return;
    if (kept->count == SESSION_LINGERS_MAX)
        drop_oldest(kept);
    struct session_linger *l = at(kept, kept->count++);
    *l = (struct session_linger){
        .dtls = s->dtls,
        .listener = s->listener,
        .closure = closure,
        .client = s->entry.key.client,
        .cid_len = s->cid_entry.cid_len,
        .slot = s->slot,
        .bytes_left = SESSION_LINGER_BYTES,
        .end_ms = s->all->now_ms + SESSION_LINGER_MS,
    };
    memcpy(l->cid, s->cid_entry.cid, s->cid_entry.cid_len);
    dtls_set_sender(l->dtls, send_nothing, NULL);
    s->dtls = NULL;
}

static bool is_of(const struct session_linger *l, const struct listener *listener,
                  const struct udp_datagram *datagram, const uint8_t *cid)
{
    if (l->dtls == NULL || l->listener != listener || (cid != NULL) != (l->cid_len != 0))
        return false;
    return cid != NULL ? memcmp(l->cid, cid, l->cid_len) == 0
                       : addr_equal(&l->client, &datagram->from);
}

/* Reads what has been fed. True if data went to the backend. */
static bool run(struct sessions *all, struct session_linger *l, bool *send_failed)
{
    bool has_forwarded = false;
    for (;;) {
        size_t len;
        uint8_t *room = backend_room(all->backend, DTLS_PLAINTEXT_MAX);
        enum dtls_event event = dtls_next(l->dtls, room, &len);
        if (event != DTLS_PLAINTEXT) {
            if (event != DTLS_DONE || !dtls_has_gap_before(l->dtls, l->closure))
                end(l);
            return has_forwarded;
        }
        if (!dtls_is_newer(l->closure, dtls_current(l->dtls)))
            continue;
        backend_send(all->backend, l->slot, l->listener->index, len, send_failed);
        has_forwarded = true;
    }
}

bool session_linger_forward(struct sessions *all, const struct listener *listener,
                            const struct udp_datagram *datagram, const struct classified *kind,
                            bool *send_failed)
{
    for (uint32_t i = 0; i < all->lingers.count && kind->protected_len != 0; i++) {
        struct session_linger *l = at(&all->lingers, i);
        if (!is_of(l, listener, datagram, kind->cid))
            continue;
        if (kind->protected_len > l->bytes_left) {
            end(l);
            continue;
        }
        l->bytes_left -= kind->protected_len;
        dtls_feed(l->dtls, datagram->data, kind->protected_len, all->now_ms);
        if (run(all, l, send_failed))
            return true;
    }
    return false;
}

void session_linger_yield(struct sessions *all, uint32_t slot)
{
    for (uint32_t i = 0; i < all->lingers.count; i++) {
        struct session_linger *l = at(&all->lingers, i);
        if (l->slot == slot)
            end(l);
    }
}

void session_linger_on_time(struct sessions *all)
{
    while (session_linger_due_ms(all) <= all->now_ms)
        drop_oldest(&all->lingers);
}

uint64_t session_linger_due_ms(const struct sessions *all)
{
    const struct session_lingers *kept = &all->lingers;
    return kept->count != 0 ? kept->at[kept->oldest].end_ms : TIMERS_NONE;
}

void session_linger_end_all(struct sessions *all)
{
    while (all->lingers.count != 0)
        drop_oldest(&all->lingers);
}
