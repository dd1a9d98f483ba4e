#include "session/last_flight.h"

#include "session/path.h"

enum {
    /* Twice the longest life of a datagram (RFC 6347 section 4.2.4). */
    KEPT_MS = 240000,
    REPEAT_INTERVAL_MS = 250,
};

void last_flight_keep(struct sessions *all, struct session *s, struct flight *flight)
{
    struct flight_kept kept = flight_take_kept(flight);
    if (kept.len == 0)
        return;
    struct session_rare *rare = session_store_rare(all, s);
    if (rare == NULL) {
        flight_kept_free(&kept, all->slabs);
        return;
    }
    rare->last_flight = kept;
    rare->flight_sent_ms = flight->sent_at_ms;
    rare->flight_until_ms = all->now_ms + KEPT_MS;
}

void last_flight_drop(struct sessions *all, struct session *s)
{
    if (s->rare == NULL || s->rare->last_flight.len == 0)
        return;
    if (path_is_proved(s))
        session_store_drop_rare(all, s);
    else
        flight_kept_free(&s->rare->last_flight, all->slabs);
}

bool last_flight_repeat(struct sessions *all, struct session *s)
{
    size_t len = 0;
    uint64_t datagram = 0;
    struct session_rare *rare = s->rare;
    if (rare == NULL || rare->last_flight.len == 0)
        return false;
    /* To an address that is not proved: the device asks again, and that proves it. */
    if (all->now_ms - rare->flight_sent_ms < REPEAT_INTERVAL_MS || !path_is_proved(s))
        return true;
    flight_kept_renumber(&rare->last_flight);
    const uint8_t *record = NULL;
    while ((record = flight_kept_next(&rare->last_flight, record, &len)) != NULL)
        (void)path_send(all, s, record, len, &datagram, NULL);
    rare->flight_sent_ms = all->now_ms;
    return true;
}

uint64_t last_flight_due_ms(const struct session *s)
{
    return s->rare != NULL && s->rare->last_flight.len != 0 ? s->rare->flight_until_ms
                                                            : TIMERS_NONE;
}
