#include "session/session_timer.h"

#include "session/last_flight.h"

uint64_t session_timer_idle_due_ms(const struct sessions *all, const struct session *s)
{
    const struct listener_config *config = session_listener(all, s)->config;
    return s->last_used_ms +
           (s->association.cid_len != 0 ? config->idle_timeout_cid_ms : config->idle_timeout_ms);
}

void session_timer_set(struct sessions *all, struct session *s)
{
    uint64_t due_ms = timers_earlier(session_timer_idle_due_ms(all, s), last_flight_due_ms(s));
    timers_set(&all->timers, &s->timer,
               timers_earlier(due_ms, association_due_ms(&s->association)));
}

void session_timer_advance(struct sessions *all, struct session *s)
{
    uint64_t due_ms = association_due_ms(&s->association);
    if (due_ms != UINT64_MAX && due_ms < timers_due_ms(&all->timers, &s->timer))
        timers_set(&all->timers, &s->timer, due_ms);
}
