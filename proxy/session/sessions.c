#include "session/sessions.h"

#include <stdlib.h>

#include "net/steering.h"
#include "session/session.h"
#include "session/session_log.h"

/* Lines a second. A stranger with spoofed addresses must not use up those of others. */
enum { LINES_PER_S = 20, STRANGER_LINES_PER_S = 5, BACKEND_LINES_PER_S = 1, LIMIT_LINES_PER_S = 1 };

/* Records that parked sessions were woken for, but were not authentic: 7 percent of a CPU. */
enum { WOKEN_IN_VAIN_PER_S = 5000 };

/* When the gate stops. More would take longer than it has, and a device that sleeps is behind a NAT
 * that has forgotten it. */
enum { FAREWELLS_OF_PARKED = 100000 };

/* At once; each may park or end a session. */
enum { TIMERS_AT_ONCE = 64 };

/* A slow device on a bad network may need this long. Without an end to patience, one host with
 * max_handshakes ports would keep all others out for the whole of handshake_timeout. */
enum { HANDSHAKE_PATIENCE_MS = 10000 };

bool sessions_init(struct sessions *all, const struct sessions_limits *limits,
                   struct backend *backend, struct udp_out *to_client,
                   struct worker_counters *counters, struct err *err)
{
    *all = (struct sessions){
        .shared = limits->shared,
        .backend = backend,
        .to_client = to_client,
        .counters = counters,
        .limiter = {.per_s = LINES_PER_S},
        .stranger_limiter = {.per_s = STRANGER_LINES_PER_S},
        .limit_limiter = {.per_s = LIMIT_LINES_PER_S},
        .backend_limiter = {.per_s = BACKEND_LINES_PER_S},
        .send_limiter = {.per_s = BACKEND_LINES_PER_S},
        .sender_limiter = {.per_s = BACKEND_LINES_PER_S},
        .worker = limits->worker,
        .worker_count = limits->worker_count,
        .next_number = limits->worker + 1,
        .number_step = limits->worker_count,
        .session_max = limits->session_max,
        .live_max = limits->live_max,
        .park_after_ms = limits->park_after_ms,
        .woken_in_vain = {.per_s = WOKEN_IN_VAIN_PER_S},
        .farewells_of_parked = FAREWELLS_OF_PARKED,
    };
    slabs_init(&all->slabs);
    park_init(&all->park, &all->slabs);
    timers_init(&all->timers);
    return session_table_init(&all->table, err);
}

struct session *sessions_find(const struct sessions *all, const struct listener *listener,
                              const struct addr *client)
{
    struct table_entry *entry = session_table_find(&all->table, client, listener->index);
    return entry != NULL ? SESSION_OF_ENTRY(entry, struct session, entry) : NULL;
}

struct session *sessions_find_cid(const struct sessions *all, const struct listener *listener,
                                  const uint8_t *cid)
{
    struct table_cid_entry *entry =
        session_table_find_cid(&all->table, listener->index, cid, listener->config->cid_bytes);
    return entry != NULL ? SESSION_OF_ENTRY(entry, struct session, cid_entry) : NULL;
}

uint32_t sessions_bucket_of(const struct sessions *all, const struct addr *client)
{
    return steering_bucket_of_worker(steering_bucket_of_addr(client), all->worker,
                                     all->worker_count);
}

bool sessions_reserve_timer(struct sessions *all)
{
    return timers_reserve(&all->timers, all->established_count + all->handshake_count + 1);
}

static struct session **oldest_of(struct session *s)
{
    return s->state == SESSION_HANDSHAKE ? &s->all->oldest_handshake : &s->all->least_recent;
}

static struct session **newest_of(struct session *s)
{
    return s->state == SESSION_HANDSHAKE ? &s->all->newest_handshake : &s->all->most_recent;
}

void sessions_forget_use(struct session *s)
{
    if (s->less_recent != NULL)
        s->less_recent->more_recent = s->more_recent;
    else
        *oldest_of(s) = s->more_recent;
    if (s->more_recent != NULL)
        s->more_recent->less_recent = s->less_recent;
    else
        *newest_of(s) = s->less_recent;
    if (s->all->next_to_park == s)
        s->all->next_to_park = s->more_recent;
    s->less_recent = s->more_recent = NULL;
}

void sessions_note_use(struct session *s)
{
    struct session **newest = newest_of(s);
    s->less_recent = *newest;
    s->more_recent = NULL;
    if (*newest != NULL)
        (*newest)->more_recent = s;
    else
        *oldest_of(s) = s;
    *newest = s;
    if (s->state == SESSION_ESTABLISHED && s->all->next_to_park == NULL)
        s->all->next_to_park = s;
}

struct session *sessions_find_slow_handshake(const struct sessions *all,
                                             const struct listener *listener)
{
    struct session *s = all->oldest_handshake;
    while (s != NULL && s->listener != listener)
        s = s->more_recent;
    return s != NULL && all->now_ms - s->begun_ms >= HANDSHAKE_PATIENCE_MS ? s : NULL;
}

void sessions_on_time(struct sessions *all)
{
    struct timer *timer;
    for (int i = 0; i < TIMERS_AT_ONCE; i++) {
        if ((timer = timers_take_due(&all->timers, all->now_ms)) == NULL)
            break;
        session_on_timer(TIMER_OWNER(timer, struct session, timer));
    }
    sessions_park_idle(all);
    session_linger_on_time(all);
    log_limiter_flush(&all->limiter, all->now_ms);
    log_limiter_flush(&all->stranger_limiter, all->now_ms);
    log_limiter_flush(&all->limit_limiter, all->now_ms);
    log_limiter_flush(&all->backend_limiter, all->now_ms);
    log_limiter_flush(&all->send_limiter, all->now_ms);
    log_limiter_flush(&all->sender_limiter, all->now_ms);
}

uint64_t sessions_next_due_ms(const struct sessions *all)
{
    uint64_t due_ms = timers_next_due_ms(&all->timers);
    if (sessions_park_due_ms(all) < due_ms)
        due_ms = sessions_park_due_ms(all);
    if (session_linger_due_ms(all) < due_ms)
        due_ms = session_linger_due_ms(all);
    /* Lines held back are reported when the second has ended. */
    uint64_t held_back = all->limiter.held_back + all->stranger_limiter.held_back +
                         all->limit_limiter.held_back + all->backend_limiter.held_back +
                         all->send_limiter.held_back + all->sender_limiter.held_back;
    if (held_back != 0 && all->now_ms + 1000 < due_ms)
        due_ms = all->now_ms + 1000;
    return due_ms;
}

void sessions_end_replaced(struct sessions *all, const struct identities_session *session)
{
    struct session *s = backend_owner(all->backend, session->slot);
    if (s != NULL && s->number == session->number)
        session_end(s, CLOSE_replaced, false);
}

void sessions_end_all(struct sessions *all)
{
    while (all->oldest_handshake != NULL)
        session_end(all->oldest_handshake, CLOSE_shutdown, false);
    uint32_t farewells = 0, untold = 0;
    while (all->most_recent != NULL) {
        struct session *s = all->most_recent;
        bool is_told = s->dtls != NULL || farewells++ < all->farewells_of_parked;
        all->is_ending_quietly = !is_told;
        untold += !is_told;
        session_end(s, CLOSE_shutdown, is_told);
    }
    session_log_untold(untold);
    session_linger_end_all(all);
}

void sessions_reap(struct sessions *all)
{
    while (all->ended != NULL) {
        struct session *s = all->ended;
        all->ended = s->less_recent;
        slabs_give(&all->slabs, s, sizeof(*s));
    }
}

/* Out of memory for a place in the table, a session may end while another one is taken out. */
static void retire_all(struct session **oldest)
{
    while (*oldest != NULL) {
        struct session *s = *oldest;
        sessions_forget_use(s);
        session_retire(s);
    }
}

void sessions_deinit(struct sessions *all)
{
    retire_all(&all->oldest_handshake);
    retire_all(&all->least_recent);
    sessions_reap(all);
    session_linger_end_all(all);
    timers_deinit(&all->timers);
    slabs_deinit(&all->slabs);
}
