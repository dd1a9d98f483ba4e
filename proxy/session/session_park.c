#include "session/session_park.h"

#include "base/bytes.h"
#include "handshake/dtls_park.h"
#include "session/session.h"

enum {
    /* At once: well below a millisecond, at about 5 us each. */
    PARK_BATCH = 64,
    VISIT_BATCH = 512,
    /* For one session that is to be live: those that cannot be parked are passed over. */
    ROOM_VISITS = 8,
};

static struct counters *counters_of(const struct session *s)
{
    return &s->all->counters->by_listener[s->listener->index];
}

void session_count_live(struct session *s, bool is_live)
{
    s->all->live_count += is_live ? 1 : -1u;
    s->all->live_of[s->version] += is_live ? 1 : -1u;
}

/* The same answer for all sessions of a version, so the library is asked until it is known. */
static bool can_park(struct session *s)
{
    uint8_t *known = &s->all->can_park[s->version];
    if (*known == DTLS_CAN_PARK_UNKNOWN)
        *known =
            (uint8_t)dtls_can_park(s->dtls, s->version, s->cid_entry.cid, s->cid_entry.cid_len);
    return *known == DTLS_CAN_PARK_YES;
}

void session_park(struct session *s)
{
    struct sessions *all = s->all;
    struct dtls_export state;
    if (s->state != SESSION_ESTABLISHED || s->dtls == NULL || !can_park(s))
        return;
    bool is_at_rest = s->retransmit_due_ms == TIMERS_NONE && s->ack_due_ms == TIMERS_NONE;
    if (!is_at_rest || !dtls_export(s->dtls, &state))
        return;
    s->parked = park_keep(&all->park, &state);
    bytes_wipe(&state, sizeof(state));
    if (s->parked == NULL)
        return;
    dtls_free(s->dtls);
    s->dtls = NULL;
    session_count_live(s, false);
    counter_add(&counters_of(s)->sessions_parked, 1);
}

bool session_wake(struct session *s)
{
    struct sessions *all = s->all;
    struct dtls_export state;
    if (s->parked == NULL)
        return true;
    park_load(&all->park, s->parked, &state);
    s->dtls = dtls_import(s->listener, s->version, s->cid_entry.cid, s->cid_entry.cid_len, &state);
    bytes_wipe(&state, sizeof(state));
    if (s->dtls == NULL)
        return false;
    dtls_set_sender(s->dtls, session_flight_on_record, s);
    park_drop(&all->park, s->parked);
    s->parked = NULL;
    s->is_woken = true;
    session_count_live(s, true);
    counter_subtract(&counters_of(s)->sessions_parked, 1);
    counter_add(&counters_of(s)->sessions_woken, 1);
    return true;
}

enum session_wake_result session_wake_for_client(struct session *s)
{
    if (s->parked == NULL)
        return SESSION_AWAKE;
    /* Only what turns out to have been in vain is taken, in session_settle(). */
    struct limit_bucket bucket = s->all->woken_in_vain;
    if (!limit_take(&bucket, s->all->now_ms, !s->was_woken_in_vain))
        return SESSION_LIMITED;
    sessions_make_room(s->all);
    return session_wake(s) ? SESSION_AWAKE : SESSION_NO_MEMORY;
}

bool session_wake_for_backend(struct session *s)
{
    if (s->parked != NULL)
        sessions_make_room(s->all);
    return session_wake(s);
}

void session_settle(struct session *s, bool was_authentic)
{
    if (s->state != SESSION_ESTABLISHED)
        return;
    if (was_authentic) {
        s->was_woken_in_vain = false;
    } else if (s->is_woken) {
        s->was_woken_in_vain = true;
        (void)limit_take(&s->all->woken_in_vain, s->all->now_ms, true);
        counter_add(&counters_of(s)->sessions_woken_in_vain, 1);
    }
    if (s->is_woken)
        session_park(s);
    s->is_woken = false;
}

void session_stay_awake(struct session *s)
{
    s->is_woken = false;
}

/* Of the live ones, those that live_sessions is a bound for. Others cannot be parked, and are not
 * to keep those that can from being awake. */
static uint32_t bounded_count(const struct sessions *all)
{
    uint32_t count = all->live_count;
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        if (all->can_park[v] == DTLS_CAN_PARK_NO)
            count -= all->live_of[v];
    return count;
}

/* The next one to be parked is the least recently used of those that were used since they were
 * looked at last; those before it sleep, or cannot. */
static bool is_due(const struct sessions *all, const struct session *s)
{
    return bounded_count(all) > all->live_max ||
           all->now_ms - s->last_used_ms >= all->park_after_ms;
}

static void park_next(struct sessions *all)
{
    struct session *s = all->next_to_park;
    all->next_to_park = s->more_recent;
    session_park(s);
}

void sessions_make_room(struct sessions *all)
{
    if (all->park_after_ms == 0)
        return;
    for (int i = 0; i < ROOM_VISITS && bounded_count(all) >= all->live_max; i++) {
        if (all->next_to_park == NULL)
            return;
        park_next(all);
    }
}

void sessions_park_idle(struct sessions *all)
{
    uint32_t live_before = all->live_count;
    for (uint32_t i = 0; i < VISIT_BATCH && live_before - all->live_count < PARK_BATCH; i++) {
        const struct session *s = all->next_to_park;
        if (s == NULL || all->park_after_ms == 0 || !is_due(all, s))
            return;
        park_next(all);
    }
}

uint64_t sessions_park_due_ms(const struct sessions *all)
{
    const struct session *s = all->next_to_park;
    if (s == NULL || all->park_after_ms == 0)
        return TIMERS_NONE;
    return is_due(all, s) ? all->now_ms : s->last_used_ms + all->park_after_ms;
}
