#include "session/sessions_adopt.h"

#include "base/ranking.h"
#include "net/steering.h"
#include "session/session_check.h"
#include "session/session_end.h"
#include "session/session_timer.h"

bool sessions_adopt_begin(struct sessions_adopt *adopt, struct region *region, bool is_copy,
                          bool is_same_machine, struct err *err)
{
    *adopt = (struct sessions_adopt){.is_copy = is_copy, .is_same_machine = is_same_machine};
    return cells_adopt_begin(&adopt->cells, region, err);
}

void sessions_adopt_end(struct sessions_adopt *adopt)
{
    cells_adopt_end(&adopt->cells);
}

void sessions_adopted_add(struct sessions_adopted *sum, const struct sessions_adopted *adopted)
{
    sum->kept += adopted->kept;
    sum->torn += adopted->torn;
    sum->ended += adopted->ended;
    sum->removed += adopted->removed;
    sum->cid_length_changed += adopted->cid_length_changed;
    sum->other_machine += adopted->other_machine;
}

/* ---- those of a worker ---------------------------------------------------------------------- */

/* In the order in which they began. Of what is another worker's only the slot is looked at: that
 * worker may be writing all else just now. */
static bool find_own(const struct sessions *all, const struct cells_adopt *cells,
                     struct ranking *own)
{
    const struct session *s = NULL;
    while ((s = cells_adopt_next(cells, CELLS_SESSIONS, s)) != NULL) {
        uint32_t bucket = slots_bucket_of(s->slot);
        if (steering_worker_of_bucket(bucket, all->worker_count) == all->worker &&
            s->state != SESSION_NEW &&
            !ranking_add(own, s->number, cells_number_of(&all->cells, s)))
            return false;
    }
    ranking_sort(own);
    return true;
}

/* ---- one of them ---------------------------------------------------------------------------- */

/* It has ended before it was anybody's: it has no memory any more when all is swept. What it says
 * of its listener counts if its slot says the same, or if there is such a listener. Killed before
 * the sweep, the next process finds an end that was counted; killed between the count and the
 * state, it counts that one again. */
static void drop(struct sessions *all, struct session *s, enum close_reason reason)
{
    struct worker_counters *counters = all->counters;
    bool is_known = session_listener(all, s) != NULL;
    if (backend_claim(all->backend, s->slot, cells_number_of(&all->cells, s), s->listener)) {
        backend_release(all->backend, s->slot, reason, all->now_ms);
        is_known = true;
    }
    is_known &= s->listener < counters->listener_count;
    uint32_t entry = is_known ? s->listener : counters->listener_count;
    counter_add(&counters->by_listener[entry].closed[reason], 1);
    s->reason = reason;
    order_stores();
    s->state = SESSION_ENDED;
}

/* What the process before had begun. It was counted there, unless that was killed first: between
 * the device's close_notify, or the state, and the books. */
static void complete_end(struct sessions *all, const struct session *s)
{
    enum close_reason reason = s->state == SESSION_ESTABLISHED  ? CLOSE_closed_by_client
                               : s->reason < CLOSE_REASON_COUNT ? (enum close_reason)s->reason
                                                                : CLOSE_torn;
    if (backend_claim(all->backend, s->slot, cells_number_of(&all->cells, s), s->listener))
        backend_release(all->backend, s->slot, reason, all->now_ms);
}

static void unclaim(struct sessions *all, struct sessions_adopt *adopt, const struct session *s,
                    const struct association_pieces *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cells_adopt_unclaim(&adopt->cells, &all->cells, CELLS_PIECES, pieces->at[i]);
    cells_adopt_unclaim(&adopt->cells, &all->cells, CELLS_SESSIONS, s);
}

static bool claim(struct sessions *all, struct sessions_adopt *adopt, const struct session *s,
                  const struct association_pieces *pieces)
{
    if (!cells_adopt_claim(&adopt->cells, &all->cells, CELLS_SESSIONS, s))
        return false;
    for (unsigned i = 0; i < pieces->count; i++) {
        if (!cells_adopt_claim(&adopt->cells, &all->cells, CELLS_PIECES, pieces->at[i])) {
            unclaim(all, adopt, s, pieces, i);
            return false;
        }
    }
    if (backend_claim(all->backend, s->slot, cells_number_of(&all->cells, s), s->listener))
        return true;
    unclaim(all, adopt, s, pieces, pieces->count);
    return false;
}

/* A later one has its place. */
static bool is_displaced(const struct sessions *all, const struct session *s)
{
    const struct association *a = &s->association;
    if (a->cid_len != 0)
        return session_store_find_cid(all, s->listener, association_cid(a), a->cid_len) != NULL;
    return session_store_find(all, s->listener, &s->client) != NULL;
}

/* What is known to one process only is empty. Times are not ahead of the clock, or it would never
 * be idle. */
static void begin_anew(const struct sessions *all, struct session *s)
{
    uint64_t now_ms = all->now_ms;
    s->older = s->newer = CELLS_NONE;
    s->counts_for_identity = false;
    s->timer = (struct timer){0};
    if (s->last_used_ms > now_ms)
        s->last_used_ms = SESSION_MS(now_ms);
    if (s->established_ms > now_ms)
        s->established_ms = SESSION_MS(now_ms);
}

/* With a connection ID it may have lost its place in the table of addresses to another one. */
static bool enter_tables(struct sessions *all, struct session *s)
{
    bool was_there = s->is_at_address || s->association.cid_len == 0;
    s->is_at_address = false;
    if (was_there && session_store_find(all, s->listener, &s->client) == NULL &&
        !session_store_enter_address(all, s))
        return false;
    if (session_store_enter_cid(all, s))
        return true;
    session_store_leave_address(all, s);
    return false;
}

static bool establish(struct sessions *all, struct session *s)
{
    begin_anew(all, s);
    if (!enter_tables(all, s))
        return false;
    session_store_enter_oldest(all, s);
    all->count++;
    session_store_enter_gauges(all, s);
    if (session_listener(all, s)->config->sessions_per_identity != 0)
        session_count_for_identity(all, s);
    return true;
}

/* Why a sound one cannot go on; CLOSE_REASON_COUNT = it can. */
static enum close_reason obstacle_of(const struct sessions *all, const struct sessions_adopt *adopt,
                                     const struct session *s)
{
    const struct listener *listener = session_listener(all, s);
    if (listener == NULL)
        return CLOSE_listener_removed;
    if (!session_fits_cid_length(s, listener->config->cid_bytes))
        return CLOSE_cid_length_changed;
    if (adopt->is_copy && !adopt->is_same_machine && s->association.version == VERSION_1_3)
        return CLOSE_other_machine;
    return is_displaced(all, s) ? CLOSE_torn : CLOSE_REASON_COUNT;
}

/* Those of DTLS 1.2 go another way from a copy. */
static bool renew(const struct sessions_adopt *adopt, struct session *s)
{
    return !adopt->is_copy || s->association.version == VERSION_1_3 ||
           association_renew(&s->association);
}

static void count_lost(struct sessions_adopted *adopted, enum close_reason reason)
{
    adopted->removed += reason == CLOSE_listener_removed;
    adopted->cid_length_changed += reason == CLOSE_cid_length_changed;
    adopted->other_machine += reason == CLOSE_other_machine;
    adopted->torn += reason == CLOSE_torn;
}

/* *is_kept: it goes on. False: out of memory. */
static bool take_over(struct sessions *all, struct sessions_adopt *adopt, struct session *s,
                      struct sessions_adopted *adopted, bool *is_kept)
{
    struct association_pieces pieces = {.adopt = &adopt->cells};
    bool is_established = s->state == SESSION_ESTABLISHED;
    bool is_sound =
        is_established &&
        session_is_sound(s, cells_adopt_bytes(&adopt->cells, CELLS_SESSIONS, s), &pieces);
    if (s->state == SESSION_CLOSING || s->state == SESSION_ENDED ||
        (is_sound && s->association.is_closed)) {
        complete_end(all, s);
        adopted->ended++;
        return true;
    }
    enum close_reason obstacle = is_sound ? obstacle_of(all, adopt, s) : CLOSE_torn;
    if (obstacle == CLOSE_REASON_COUNT && (!renew(adopt, s) || !claim(all, adopt, s, &pieces)))
        obstacle = CLOSE_torn;
    if (obstacle != CLOSE_REASON_COUNT) {
        drop(all, s, obstacle);
        count_lost(adopted, obstacle);
        return true;
    }
    adopted->kept++;
    *is_kept = true;
    return establish(all, s);
}

bool sessions_adopt(struct sessions *all, struct sessions_adopt *adopt, uint64_t now_ms,
                    struct sessions_adopted *adopted, struct err *err)
{
    struct ranking own = {0}; /* cells, by the number of the session */
    *adopted = (struct sessions_adopted){0};
    all->now_ms = now_ms;
    bool ok = find_own(all, &adopt->cells, &own) &&
              timers_reserve(&all->timers, (uint32_t)own.count + SESSION_CLOSING_MAX + 1);
    /* The latest first: what it has, an earlier one has no more. */
    for (size_t i = own.count; i > 0 && ok; i--) {
        struct ranked *found = &own.at[i - 1];
        bool is_kept = false;
        ok = take_over(all, adopt, cells_at(&all->cells, found->number), adopted, &is_kept);
        found->number = is_kept ? found->number : CELLS_NONE;
    }
    /* The other way round: a heap takes what is later than all before at once. */
    for (size_t i = 0; i < own.count && ok; i++)
        if (own.at[i].number != CELLS_NONE)
            session_timer_set(all, cells_at(&all->cells, own.at[i].number));
    ranking_free(&own);
    return ok || err_set(err, "out of memory for the sessions of worker %u", all->worker);
}

void sessions_adopt_sweep(struct sessions *all, struct sessions_adopt *adopt)
{
    cells_adopt_sweep(&adopt->cells, &all->cells, all->worker, all->worker_count);
}
