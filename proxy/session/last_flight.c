#include "session/last_flight.h"

#include <string.h>

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
    struct session_flight *copy =
        cells_take(&all->cells, CELLS_PIECES, sizeof(struct session_flight) + kept.len);
    if (rare != NULL && copy != NULL) {
        copy->len = (uint16_t)kept.len;
        memcpy(copy->bytes, kept.bytes, kept.len);
        ref_set(&rare->flight, copy);
        rare->flight_sent_ms = flight->sent_at_ms;
        rare->flight_until_ms = all->now_ms + KEPT_MS;
    } else {
        cells_give(&all->cells, CELLS_PIECES, copy, sizeof(struct session_flight) + kept.len);
        session_store_drop_rare(all, s);
    }
    flight_kept_free(&kept, flight->way.slabs);
}

void last_flight_drop(struct sessions *all, struct session *s)
{
    struct session_rare *rare = session_rare(s);
    if (rare == NULL || ref_find(&rare->flight) == NULL)
        return;
    if (path_is_proved(s))
        session_store_drop_rare(all, s);
    else
        session_store_drop_flight(all, rare);
}

bool last_flight_repeat(struct sessions *all, struct session *s)
{
    size_t len = 0;
    uint64_t datagram = 0;
    struct session_rare *rare = session_rare(s);
    struct session_flight *flight = rare != NULL ? ref_find(&rare->flight) : NULL;
    if (flight == NULL)
        return false;
    /* To an address that is not proved: the device asks again, and that proves it. */
    if (all->now_ms - rare->flight_sent_ms < REPEAT_INTERVAL_MS || !path_is_proved(s))
        return true;
    struct flight_kept kept = {.bytes = flight->bytes, .len = flight->len};
    flight_kept_renumber(&kept);
    const uint8_t *record = NULL;
    while ((record = flight_kept_next(&kept, record, &len)) != NULL)
        (void)path_send(all, s, record, len, &datagram, NULL);
    rare->flight_sent_ms = all->now_ms;
    return true;
}

uint64_t last_flight_due_ms(const struct session *s)
{
    const struct session_rare *rare = session_rare(s);
    return rare != NULL && ref_find(&rare->flight) != NULL ? rare->flight_until_ms : TIMERS_NONE;
}
