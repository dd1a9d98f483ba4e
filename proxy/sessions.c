#include "sessions.h"

#include <stdlib.h>

#include "session.h"

/* Lines a second that strangers can cause, and those on a backend that is down. */
enum { LINES_PER_S = 20, BACKEND_LINES_PER_S = 1 };

void sessions_init(struct sessions *all, const struct sessions_limits *limits,
                   struct backend *backend, struct udp_out *to_client,
                   struct worker_counters *counters)
{
    *all = (struct sessions){
        .backend = backend,
        .to_client = to_client,
        .counters = counters,
        .limiter = {.per_s = 20},
        .backend_limiter = {.per_s = 1},
        .next_number = limits->worker + 1,
        .number_step = limits->worker_count,
        .session_max = limits->session_max,
    };
    session_table_init(&all->table);
    timers_init(&all->timers);
}

struct session *sessions_find(const struct sessions *all, const struct listener *listener,
                              const struct addr *client)
{
    struct table_entry *entry = session_table_find(&all->table, client, listener->index);
    return entry != NULL ? SESSION_OF_ENTRY(entry, struct session, entry) : NULL;
}

bool sessions_reserve_timer(struct sessions *all)
{
    uint32_t needed = all->established_count + all->handshake_count + 1;
    if (needed <= all->timer_room)
        return true;
    uint32_t room = all->timer_room < 512 ? 1024 : all->timer_room * 2;
    if (!timers_reserve(&all->timers, room))
        return false;
    all->timer_room = room;
    return true;
}

void sessions_forget_use(struct session *s)
{
    struct sessions *all = s->all;
    if (s->less_recent != NULL)
        s->less_recent->more_recent = s->more_recent;
    else
        all->least_recent = s->more_recent;
    if (s->more_recent != NULL)
        s->more_recent->less_recent = s->less_recent;
    else
        all->most_recent = s->less_recent;
    s->less_recent = s->more_recent = NULL;
}

void sessions_note_use(struct session *s)
{
    struct sessions *all = s->all;
    s->less_recent = all->most_recent;
    s->more_recent = NULL;
    if (all->most_recent != NULL)
        all->most_recent->more_recent = s;
    else
        all->least_recent = s;
    all->most_recent = s;
}

void sessions_on_time(struct sessions *all)
{
    struct timer *timer;
    while ((timer = timers_take_due(&all->timers, all->now_ms)) != NULL)
        session_on_timer(TIMER_OWNER(timer, struct session, timer));
    log_limiter_flush(&all->limiter, all->now_ms);
    log_limiter_flush(&all->backend_limiter, all->now_ms);
}

uint64_t sessions_next_due_ms(const struct sessions *all)
{
    uint64_t due_ms = timers_next_due_ms(&all->timers);
    /* Lines held back are reported when the second has ended. */
    if (all->limiter.held_back + all->backend_limiter.held_back != 0 && all->now_ms + 1000 < due_ms)
        due_ms = all->now_ms + 1000;
    return due_ms;
}

void sessions_end_all(struct sessions *all)
{
    struct table_entry *entry, *next;
    HASH_ITER (hh, all->table.head, entry, next) {
        struct session *s = SESSION_OF_ENTRY(entry, struct session, entry);
        if (s->successor != NULL)
            session_end(s->successor, CLOSE_shutdown, false);
        session_end(s, CLOSE_shutdown, true);
    }
}

void sessions_reap(struct sessions *all)
{
    while (all->ended != NULL) {
        struct session *s = all->ended;
        all->ended = s->less_recent;
        free(s);
    }
}

void sessions_deinit(struct sessions *all)
{
    struct table_entry *entry, *next;
    HASH_ITER (hh, all->table.head, entry, next) {
        struct session *s = SESSION_OF_ENTRY(entry, struct session, entry);
        if (s->successor != NULL)
            session_retire(s->successor);
        session_retire(s);
    }
    sessions_reap(all);
    timers_deinit(&all->timers);
}
