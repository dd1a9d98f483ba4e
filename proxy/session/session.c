#include "session/session.h"

#include <string.h>

#include "base/bytes.h"
#include "session/closing.h"
#include "session/last_flight.h"
#include "session/path.h"
#include "session/session_log.h"
#include "session/session_timer.h"
#include "session/session_trace.h"
#include "session/turn.h"

/* The life of a session:
 *
 *   state        on                                        what happens              next
 *   NEW          session_begin: all limits agree           found, counted            ESTABLISHED
 *                else                                      close_notify              ENDED
 *   ESTABLISHED  close_notify, all before it came          close_notify              ENDED
 *                close_notify, records before it missing   close_notify              CLOSING
 *                fatal alert of the device                 -                         ENDED
 *                the device broke a rule                   our alert                 ENDED
 *                keys worn out, idle, evicted, shutdown    close_notify              ENDED
 *                replaced by a newer one                   -                         ENDED
 *   CLOSING      the missing records came, 2 s, its
 *                backend address is given to another one   -                         ENDED
 */

/* Timers that are looked at, at once; each may end a session. */
enum { TIMERS_AT_ONCE = 64 };

bool sessions_init(struct sessions *all, const struct sessions_settings *settings, struct err *err)
{
    return session_store_init(all, settings, err);
}

void sessions_deinit(struct sessions *all)
{
    session_store_deinit(all);
}

struct session *sessions_find(const struct sessions *all, const struct listener *listener,
                              const struct addr *client)
{
    return session_store_find(all, listener->number, client);
}

struct session *sessions_find_cid(const struct sessions *all, const struct listener *listener,
                                  const uint8_t *cid)
{
    return session_store_find_cid(all, listener->number, cid, listener->config->cid_bytes);
}

bool session_is_recent(const struct session *s, uint64_t now_ms)
{
    enum { DUPLICATE_MS = 10000 };
    return now_ms - s->established_ms < DUPLICATE_MS;
}

static void on_timer(struct sessions *all, struct session *s)
{
    struct turn t = {.all = all, .session = s};
    const struct association_call call = turn_call(&t, false);
    if (all->now_ms >= session_timer_idle_due_ms(all, s)) {
        session_end(all, s, CLOSE_idle, true, all->now_ms);
        return;
    }
    if (all->now_ms >= last_flight_due_ms(s))
        last_flight_drop(all, s);
    if (all->now_ms >= association_due_ms(&s->association))
        association_on_time(&s->association, &call);
    session_timer_set(all, s);
}

/* ---- from the device ------------------------------------------------------------------------ */

static void mark_used(struct sessions *all, struct session *s)
{
    s->last_used_ms = SESSION_MS(all->now_ms);
}

static void count_one(uint32_t *count)
{
    if (*count != UINT32_MAX)
        ++*count;
}

static void forward(struct turn *t)
{
    struct session *s = t->session;
    backend_send(t->all->backend, s->slot, s->listener, t->opened.data_len,
                 t->arrival->send_failed);
    if (s->state != SESSION_ESTABLISHED)
        return; /* it came behind the close_notify, and was sent before that */
    if (session_rare(s) != NULL)
        last_flight_drop(t->all, s); /* the device has it, or it would not use the keys */
    count_one(&s->from_client);
    mark_used(t->all, s);
}

/* What the datagram is after this record, if it was `before`: data counts more than all else. */
static enum client_outcome act_on(struct turn *t, enum client_outcome before)
{
    struct sessions *all = t->all;
    struct session *s = t->session;
    enum client_outcome outcome = CLIENT_record_discarded;
    switch (t->opened.event) {
    case ASSOCIATION_DISCARDED:
        counter_add(&session_counters(all, s)->records_discarded, 1);
        return before;
    case ASSOCIATION_DATA: forward(t); return CLIENT_forwarded;
    case ASSOCIATION_CONTROL: outcome = CLIENT_control; break;
    case ASSOCIATION_REFUSED: outcome = CLIENT_renegotiation_refused; break;
    case ASSOCIATION_REPEATED:
        outcome = last_flight_repeat(all, s) ? CLIENT_handshake : CLIENT_control;
        break;
    case ASSOCIATION_CLOSED:
        session_end(all, s, CLOSE_closed_by_client, true, all->now_ms);
        outcome = CLIENT_session_closed;
        break;
    case ASSOCIATION_ALERTED:
    case ASSOCIATION_FAILED:
        session_end(all, s, CLOSE_fatal_alert, false, all->now_ms);
        outcome = CLIENT_session_closed;
        break;
    case ASSOCIATION_WORN_OUT:
        session_end(all, s,
                    t->opened.verdict == RECORD_FORGED ? CLOSE_forgery_limit : CLOSE_key_limit,
                    true, all->now_ms);
        outcome = CLIENT_session_closed;
        break;
    }
    return before == CLIENT_forwarded ? before : outcome;
}

/* The length of a record that is none of the session's, as its header tells: of epoch 0, as those
 * before the device's Finished of DTLS 1.2 when it repeats its last flight; of DTLS 1.2 in a
 * session of 1.3. 0: it may be the session's, or there is no telling. */
static size_t foreign_len(const struct session *s, const uint8_t *data, size_t len)
{
    if (record_is_ciphertext13(data[0]) || len < RECORD_HEADER_BYTES ||
        data[0] == RECORD_TLS12_CID ||
        (s->association.version == VERSION_1_2 && record_epoch(data) != 0))
        return 0;
    size_t record_len = RECORD_HEADER_BYTES + record_body_len(data, RECORD_HEADER_BYTES);
    return record_len < len ? record_len : len;
}

static enum client_outcome receive(struct sessions *all, struct session *s, const struct arrival *a,
                                   const uint8_t *data, size_t len, bool is_contested)
{
    struct turn t = {.all = all, .session = s, .arrival = a};
    const struct association_call call = turn_call(&t, is_contested);
    enum client_outcome outcome = CLIENT_record_discarded;
    bool is_first = data == a->datagram->data;
    const size_t all_bytes = len;
    t.has_moved = !is_first && !path_is_proved(s);
    size_t record_len;
    all->now_ms = a->now_ms;
    for (; len > 0 && s->state != SESSION_ENDED; data += record_len, len -= record_len) {
        record_len = foreign_len(s, data, len);
        if (record_len == 0) {
            uint8_t *room = backend_room(all->backend, len);
            association_open(&s->association, &call, data, len, is_first, room, &t.opened);
            turn_note_path(&t);
            session_trace_record(all, s, &t.opened);
            outcome = act_on(&t, outcome);
            record_len = t.opened.record_len;
        } else {
            counter_add(&session_counters(all, s)->records_discarded, 1);
        }
        is_first = false;
    }
    if (s->state == SESSION_ESTABLISHED)
        session_timer_advance(all, s);
    session_trace_from_client(all, s, all_bytes, outcome);
    return outcome;
}

enum client_outcome session_receive(struct sessions *all, struct session *s,
                                    const struct arrival *a, bool is_contested)
{
    return receive(all, s, a, a->datagram->data, a->kind.usable_len, is_contested);
}

enum client_outcome session_receive_rest(struct sessions *all, struct session *s,
                                         const struct arrival *a, const uint8_t *data, size_t len)
{
    return receive(all, s, a, data, len, false);
}

bool sessions_receive_closing(struct sessions *all, const struct arrival *a)
{
    all->now_ms = a->now_ms;
    return closing_receive(all, a);
}

/* ---- from the backend ----------------------------------------------------------------------- */

static enum backend_outcome seal(struct sessions *all, struct session *s, const uint8_t *data,
                                 size_t len, bool *failed)
{
    struct turn t = {.all = all, .session = s, .failed = failed};
    const struct association_call call = turn_call(&t, false);
    switch (association_seal(&s->association, &call, data, len)) {
    case ASSOCIATION_SEALED: break;
    case ASSOCIATION_TOO_LARGE: session_log_too_large(all, s, len); return BACKEND_too_large;
    case ASSOCIATION_NO_KEYS:
        session_end(all, s, CLOSE_key_limit, true, all->now_ms);
        return BACKEND_encrypt_failed;
    }
    session_timer_advance(all, s); /* keys that are worn by half are changed */
    if (t.is_kept_back)
        return BACKEND_address_unproved;
    count_one(&s->from_backend);
    mark_used(all, s);
    return BACKEND_forwarded;
}

enum backend_outcome session_send(struct sessions *all, struct session *s, const uint8_t *data,
                                  size_t len, bool *failed, uint64_t now_ms)
{
    all->now_ms = now_ms;
    enum backend_outcome outcome = seal(all, s, data, len, failed);
    session_trace_from_backend(all, s, len, outcome);
    return outcome;
}

/* ---- time ----------------------------------------------------------------------------------- */

void sessions_on_time(struct sessions *all, uint64_t now_ms)
{
    struct timer *timer;
    all->now_ms = now_ms;
    for (int i = 0; i < TIMERS_AT_ONCE; i++) {
        if ((timer = timers_take_due(&all->timers, now_ms)) == NULL)
            break;
        on_timer(all, TIMER_OWNER(timer, struct session, timer));
    }
    closing_on_time(all);
    trace_on_time(&all->trace, now_ms);
    log_limiter_flush(&all->limiter, now_ms);
    log_limiter_flush(&all->full_limiter, now_ms);
}

uint64_t sessions_due_ms(const struct sessions *all)
{
    uint64_t due_ms = timers_earlier(timers_next_due_ms(&all->timers), closing_due_ms(all));
    due_ms = timers_earlier(due_ms, trace_due_ms(&all->trace));
    /* Lines held back are reported when the second has ended. */
    uint64_t held_back = all->limiter.held_back + all->full_limiter.held_back;
    return held_back != 0 ? timers_earlier(due_ms, all->now_ms + 1000) : due_ms;
}

void sessions_reap(struct sessions *all)
{
    session_store_reap(all);
}
