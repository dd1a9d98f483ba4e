#include "session/closing.h"

#include <string.h>

static struct session_closing *at(struct sessions *all, uint32_t i)
{
    return &all->closing[(all->closing_oldest + i) % SESSION_CLOSING_MAX];
}

/* Its place is free when it is the oldest. */
static void end(struct sessions *all, struct session_closing *c)
{
    if (c->session == NULL)
        return;
    c->session->state = SESSION_ENDED;
    session_store_retire(all, c->session);
    c->session = NULL;
}

static void drop_oldest(struct sessions *all)
{
    end(all, at(all, 0));
    all->closing_oldest = (all->closing_oldest + 1) % SESSION_CLOSING_MAX;
    all->closing_count--;
}

void closing_begin(struct sessions *all, struct session *s)
{
    if (all->closing_count == SESSION_CLOSING_MAX)
        drop_oldest(all);
    *at(all, all->closing_count++) = (struct session_closing){
        .session = s,
        .bytes_left = CLOSING_BYTES,
        .end_ms = all->now_ms + CLOSING_MS,
    };
}

static bool is_of(const struct session *s, const struct arrival *a)
{
    const struct association *association = &s->association;
    if (s->listener != a->listener->number || (a->kind.cid != NULL) != (association->cid_len != 0))
        return false;
    if (a->kind.cid == NULL)
        return addr_equal(&s->client, &a->datagram->from);
    /* The listener may be another one of that number and name by now. */
    return association->cid_len == a->listener->config->cid_bytes &&
           memcmp(association_cid(association), a->kind.cid, association->cid_len) == 0;
}

/* A closed association answers nothing; and after the end nothing goes to the device. */
static void send_nothing(void *owner, const uint8_t *record, size_t len)
{
    (void)owner;
    (void)record;
    (void)len;
}

/* True if data went to the backend. */
static bool open_all(struct sessions *all, struct session *s, const struct arrival *a)
{
    const struct association_call call = {
        .work = all->work, .cells = &all->cells, .now_ms = all->now_ms, .send = send_nothing};
    size_t len = a->kind.protected_len;
    bool has_forwarded = false;
    struct association_opened opened;
    for (size_t done = 0; done < len; done += opened.record_len) {
        uint8_t *room = backend_room(all->backend, len - done);
        association_open(&s->association, &call, a->datagram->data + done, len - done, done == 0,
                         room, &opened);
        if (opened.event != ASSOCIATION_DATA)
            continue;
        backend_send(all->backend, s->slot, s->listener, opened.data_len, a->send_failed);
        has_forwarded = true;
    }
    return has_forwarded;
}

bool closing_receive(struct sessions *all, const struct arrival *a)
{
    for (uint32_t i = 0; i < all->closing_count && a->kind.protected_len != 0; i++) {
        struct session_closing *c = at(all, i);
        if (c->session == NULL || !is_of(c->session, a))
            continue;
        if (a->kind.protected_len > c->bytes_left) {
            end(all, c);
            continue;
        }
        c->bytes_left -= a->kind.protected_len;
        bool has_forwarded = open_all(all, c->session, a);
        if (!association_has_gap(&c->session->association))
            end(all, c);
        if (has_forwarded)
            return true;
    }
    return false;
}

void closing_yield(struct sessions *all, uint32_t slot)
{
    for (uint32_t i = 0; i < all->closing_count; i++) {
        struct session_closing *c = at(all, i);
        if (c->session != NULL && c->session->slot == slot)
            end(all, c);
    }
}

void closing_on_time(struct sessions *all)
{
    while (closing_due_ms(all) <= all->now_ms)
        drop_oldest(all);
}

uint64_t closing_due_ms(const struct sessions *all)
{
    return all->closing_count != 0 ? all->closing[all->closing_oldest].end_ms : TIMERS_NONE;
}

void closing_end_all(struct sessions *all)
{
    while (all->closing_count != 0)
        drop_oldest(all);
}
