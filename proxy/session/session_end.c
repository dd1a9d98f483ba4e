#include "session/session_end.h"

#include "session/closing.h"
#include "session/session_log.h"
#include "session/turn.h"

/* When the gate stops. More would take longer than it has. */
enum { FAREWELLS_MAX = 250000 };

struct identities_session session_name_of(const struct sessions *all, const struct session *s)
{
    return (struct identities_session){.worker = all->worker, .slot = s->slot, .number = s->number};
}

void session_identity_key(const struct sessions *all, const struct session *s,
                          struct identities_key *key)
{
    const struct session_who *who = session_who(s);
    identities_make_key(all->identities, s->listener, who->credential, who->identity,
                        who->identity_len, key);
}

void session_count_for_identity(struct sessions *all, struct session *s)
{
    struct identities_key key;
    if (session_is_anonymous(s))
        return;
    s->counts_for_identity = true;
    session_identity_key(all, s, &key);
    identities_adopt(all->identities, &key, session_name_of(all, s));
}

void session_leave_identity(struct sessions *all, struct session *s)
{
    struct identities_key key;
    if (!s->counts_for_identity)
        return;
    s->counts_for_identity = false;
    session_identity_key(all, s, &key);
    identities_end(all->identities, &key, session_name_of(all, s));
}

static void leave_books(struct sessions *all, struct session *s, enum close_reason reason)
{
    counter_add(&session_counters(all, s)->closed[reason], 1);
    session_store_leave_gauges(all, s);
    session_leave_identity(all, s);
    backend_release(all->backend, s->slot, reason, all->now_ms);
    all->count--;
    timers_cancel(&all->timers, &s->timer);
    session_store_leave_order(all, s);
    session_store_leave_address(all, s);
    session_store_leave_cid(all, s);
}

void session_end(struct sessions *all, struct session *s, enum close_reason reason,
                 bool with_farewell, uint64_t now_ms)
{
    struct turn t = {.all = all, .session = s};
    const struct association_call call = turn_call(&t, false);
    if (s->state != SESSION_ESTABLISHED)
        return;
    all->now_ms = now_ms;
    if (with_farewell)
        association_send_alert(&s->association, &call, ALERT_CLOSE_NOTIFY);
    if (with_farewell || reason != CLOSE_shutdown) /* the untold have one line together */
        session_log_closed(all, s, reason);
    /* From here on a start would complete it. */
    bool is_closing = reason == CLOSE_closed_by_client && association_has_gap(&s->association);
    s->reason = reason;
    order_stores();
    s->state = is_closing ? SESSION_CLOSING : SESSION_ENDED;
    leave_books(all, s, reason);
    session_store_drop_rare(all, s);
    if (is_closing)
        closing_begin(all, s);
    else
        session_store_retire(all, s);
}

void sessions_end_replaced(struct sessions *all, const struct identities_session *session,
                           uint64_t now_ms)
{
    struct session *s = session_store_find_slot(all, session->slot);
    if (s != NULL && s->number == session->number)
        session_end(all, s, CLOSE_replaced, false, now_ms);
}

void sessions_end_all(struct sessions *all, uint64_t now_ms)
{
    struct session *s;
    uint32_t told = 0, untold = 0;
    all->now_ms = now_ms;
    while ((s = session_store_newest(all)) != NULL) {
        bool is_told = told < FAREWELLS_MAX;
        told += is_told;
        untold += !is_told;
        session_end(all, s, CLOSE_shutdown, is_told, now_ms);
    }
    session_log_untold(untold);
    closing_end_all(all);
}
