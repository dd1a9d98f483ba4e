#include "session/session.h"

#include <string.h>

#include "base/bytes.h"
#include "net/steering.h"
#include "session/closing.h"
#include "session/last_flight.h"
#include "session/path.h"
#include "session/session_log.h"

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

/* When the gate stops. More would take longer than it has. */
enum { FAREWELLS_MAX = 250000 };

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

/* ---- records, both ways --------------------------------------------------------------------- */

/* One call of the association, and what it needs to reach the device. */
struct turn {
    struct sessions *all;
    struct session *session;
    const struct arrival *arrival;    /* NULL: it is not over a datagram of the device */
    struct association_opened opened; /* the record at hand */
    uint64_t datagram;                /* that was queued last, for a record that may follow */
    bool *failed;
    uint32_t record_count; /* that the association has made */
    bool is_kept_back;     /* the first of them; a KeyUpdate may follow data */
    bool has_moved;        /* over this datagram, which cannot prove the address as well */
};

/* The record at hand is authentic and new: so the device is there where it came from, and is
 * answered there. */
static void note_path(struct turn *t)
{
    if (t->arrival != NULL && t->opened.is_authentic && !t->has_moved &&
        t->session->state == SESSION_ESTABLISHED)
        t->has_moved = path_on_authentic(t->all, t->session, t->arrival, t->opened.is_newest);
    t->opened.is_authentic = false; /* once a record */
}

static void send_record(void *owner, const uint8_t *record, size_t len)
{
    struct turn *t = owner;
    note_path(t);
    t->datagram = 0; /* nothing joins another: a stack may look for no second record there */
    bool is_sent = path_send(t->all, t->session, record, len, &t->datagram, t->failed);
    if (t->record_count++ == 0)
        t->is_kept_back = !is_sent;
}

static struct association_call call_of(struct turn *t, bool is_contested)
{
    return (struct association_call){
        .work = t->all->work,
        .slabs = t->all->slabs,
        .now_ms = t->all->now_ms,
        .send = send_record,
        .owner = t,
        .is_contested = is_contested,
        .limits = t->all->limits,
    };
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static uint64_t idle_due_ms(const struct sessions *all, const struct session *s)
{
    const struct listener_config *config = session_listener(all, s)->config;
    return s->last_used_ms +
           (s->association.cid_len != 0 ? config->idle_timeout_cid_ms : config->idle_timeout_ms);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_timer(struct sessions *all, struct session *s)
{
    uint64_t due_ms = earlier(idle_due_ms(all, s), last_flight_due_ms(s));
    timers_set(&all->timers, &s->timer, earlier(due_ms, association_due_ms(&s->association)));
}

/* A deadline that moved away is noticed when the timer fires: a datagram then costs no heap
 * operation. */
static void set_timer_if_earlier(struct sessions *all, struct session *s)
{
    uint64_t due_ms = association_due_ms(&s->association);
    if (due_ms != UINT64_MAX && due_ms < timers_due_ms(&all->timers, &s->timer))
        timers_set(&all->timers, &s->timer, due_ms);
}

static void on_timer(struct sessions *all, struct session *s)
{
    struct turn t = {.all = all, .session = s};
    const struct association_call call = call_of(&t, false);
    if (all->now_ms >= idle_due_ms(all, s)) {
        session_end(all, s, CLOSE_idle, true, all->now_ms);
        return;
    }
    if (all->now_ms >= last_flight_due_ms(s))
        last_flight_drop(all, s);
    if (all->now_ms >= association_due_ms(&s->association))
        association_on_time(&s->association, &call);
    set_timer(all, s);
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
    if (s->rare != NULL)
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
        session_end(all, s, CLOSE_forgery_limit, true, all->now_ms);
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
    const struct association_call call = call_of(&t, is_contested);
    enum client_outcome outcome = CLIENT_record_discarded;
    bool is_first = data == a->datagram->data;
    t.has_moved = !is_first && !path_is_proved(s);
    size_t record_len;
    all->now_ms = a->now_ms;
    for (; len > 0 && s->state != SESSION_ENDED; data += record_len, len -= record_len) {
        record_len = foreign_len(s, data, len);
        if (record_len == 0) {
            uint8_t *room = backend_room(all->backend, len);
            association_open(&s->association, &call, data, len, is_first, room, &t.opened);
            note_path(&t);
            outcome = act_on(&t, outcome);
            record_len = t.opened.record_len;
        } else {
            counter_add(&session_counters(all, s)->records_discarded, 1);
        }
        is_first = false;
    }
    if (s->state == SESSION_ESTABLISHED)
        set_timer_if_earlier(all, s);
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

enum backend_outcome session_send(struct sessions *all, struct session *s, const uint8_t *data,
                                  size_t len, bool *failed, uint64_t now_ms)
{
    struct turn t = {.all = all, .session = s, .failed = failed};
    const struct association_call call = call_of(&t, false);
    all->now_ms = now_ms;
    switch (association_seal(&s->association, &call, data, len)) {
    case ASSOCIATION_SEALED: break;
    case ASSOCIATION_TOO_LARGE: session_log_too_large(all, s, len); return BACKEND_too_large;
    case ASSOCIATION_NO_KEYS:
        session_end(all, s, CLOSE_key_limit, true, now_ms);
        return BACKEND_encrypt_failed;
    }
    set_timer_if_earlier(all, s); /* keys that are worn by half are changed */
    if (t.is_kept_back)
        return BACKEND_address_unproved;
    count_one(&s->from_backend);
    mark_used(all, s);
    return BACKEND_forwarded;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static uint32_t bucket_of(const struct sessions *all, const struct addr *client)
{
    return steering_bucket_of_worker(steering_bucket_of_addr(client), all->worker,
                                     all->worker_count);
}

static bool is_other_device(const struct session *old, const struct handshake_who *who)
{
    if (old->who == NULL || who->credential == CREDENTIAL_NONE)
        return false;
    return old->who->credential != who->credential || old->who->identity_len != who->identity_len ||
           memcmp(old->who->identity, who->identity, who->identity_len) != 0;
}

/* A device that reboots begins anew from its old address (RFC 6347 section 4.2.8). But a NAT also
 * gives that address to another device: then a session that is found by its connection ID goes on,
 * and only its place in the table of addresses is lost. */
static bool outlives(const struct session *old, const struct handshake_who *who)
{
    return old->association.cid_len != 0 && is_other_device(old, who);
}

/* The one that has to end for it, or NULL. To be asked once: the next least used one is another. */
static struct session *leaving_for(struct sessions *all, const struct handshake *h)
{
    struct session *old = session_store_find(all, h->listener->number, &h->entry.key.client);
    if (old != NULL && !outlives(old, &h->who))
        return old;
    return all->count >= all->max ? session_store_least_used(all) : NULL;
}

/* An address is left for it, or will be when `leaving` has made way: but only in its bucket, and
 * not if the server still sends there. */
static bool is_address_left(struct sessions *all, uint32_t bucket, const struct session *leaving)
{
    return !backend_is_exhausted(all->backend, bucket, all->now_ms) ||
           (leaving != NULL && slots_bucket_of(leaving->slot) == bucket &&
            !backend_is_noisy(all->backend, leaving->slot));
}

bool sessions_may_begin(struct sessions *all, const struct listener *listener,
                        const struct addr *client, uint64_t now_ms)
{
    return !backend_is_exhausted(all->backend, bucket_of(all, client), now_ms) ||
           all->count >= all->max || sessions_find(all, listener, client) != NULL;
}

static bool keep_who(struct sessions *all, struct session *s, const struct handshake_who *who)
{
    if (who->credential == CREDENTIAL_NONE)
        return true;
    s->who = slabs_take(all->slabs, sizeof(*s->who) + who->identity_len);
    if (s->who == NULL)
        return false;
    s->who->credential = who->credential;
    s->who->identity_len = who->identity_len;
    memcpy(s->who->identity, who->identity, who->identity_len);
    return true;
}

/* With all that belongs to it, in no table yet. NULL: out of memory. */
static struct session *make(struct sessions *all, const struct handshake *h,
                            const struct taken *taken)
{
    struct session *s = session_store_make(all, taken);
    if (s == NULL)
        return NULL;
    s->number = h->number;
    s->hello_tag = (uint32_t)h->hello_tag;
    s->client = h->entry.key.client;
    memcpy(s->local_ip, h->flight.way.local.ip, sizeof(s->local_ip));
    s->socket = h->flight.way.socket;
    s->listener = (uint16_t)h->listener->number;
    s->established_ms = s->last_used_ms = SESSION_MS(all->now_ms);
    s->state = SESSION_NEW;
    if (keep_who(all, s, &h->who))
        return s;
    session_store_free(all, s);
    return NULL;
}

static enum handshake_result find_fault(struct sessions *all, const struct handshake *h,
                                        uint32_t bucket, const struct session *leaving)
{
    if (h->who.credential == CREDENTIAL_NONE &&
        h->listener->config->client_auth == CLIENT_AUTH_REQUIRED)
        return HANDSHAKE_no_certificate;
    if (!is_address_left(all, bucket, leaving))
        return HANDSHAKE_no_backend_address;
    return HANDSHAKE_established;
}

static void make_room(struct sessions *all, const struct handshake *h, struct session *leaving)
{
    struct session *old = session_store_find(all, h->listener->number, &h->entry.key.client);
    if (leaving != NULL && leaving == old && !outlives(old, &h->who)) {
        session_end(all, leaving, CLOSE_replaced, false, all->now_ms);
        return;
    }
    if (old != NULL)
        session_store_leave_address(all, old);
    if (leaving != NULL)
        session_end(all, leaving, CLOSE_evicted, true, all->now_ms);
}

static bool enter_tables(struct sessions *all, struct session *s)
{
    if (!session_store_enter_address(all, s))
        return false;
    if (session_store_enter_cid(all, s))
        return true;
    session_store_leave_address(all, s);
    return false;
}

static bool take_slot(struct sessions *all, struct session *s, uint32_t bucket)
{
    bool is_early = false;
    s->slot = backend_take(all->backend, bucket, s, s->listener, all->now_ms, &is_early);
    if (s->slot == BACKEND_NO_SLOT)
        return false;
    if (is_early)
        counter_add(&session_counters(all, s)->backend_addresses_taken_early, 1);
    closing_yield(all, s->slot);
    return true;
}

static struct identities_session name_of(const struct sessions *all, const struct session *s)
{
    return (struct identities_session){.worker = all->worker, .slot = s->slot, .number = s->number};
}

static void make_identity_key(const struct sessions *all, const struct session *s,
                              struct identities_key *key)
{
    identities_make_key(all->identities, s->listener, s->who->credential, s->who->identity,
                        s->who->identity_len, key);
}

/* sessions_per_identity, over all workers. */
static void end_oldest_of_identity(struct sessions *all, struct session *s)
{
    struct identities_key key;
    struct identities_session oldest;
    uint32_t limit = session_listener(all, s)->config->sessions_per_identity;
    if (s->who == NULL || limit == 0)
        return;
    make_identity_key(all, s, &key);
    if (!identities_begin(all->identities, &key, limit, name_of(all, s), &oldest))
        return;
    if (oldest.worker == all->worker)
        sessions_end_replaced(all, &oldest, all->now_ms);
    else
        all->end_elsewhere(all->context, &oldest);
}

/* The device believes that it has a session. */
static void refuse(struct sessions *all, struct session *s)
{
    struct turn t = {.all = all, .session = s};
    const struct association_call call = call_of(&t, false);
    association_send_alert(&s->association, &call, ALERT_CLOSE_NOTIFY);
    session_store_free(all, s);
}

static void establish(struct sessions *all, struct session *s, struct handshake *h)
{
    session_store_enter_order(all, s);
    s->state = SESSION_ESTABLISHED;
    all->count++;
    counter_add(&session_counters(all, s)->sessions, 1);
    last_flight_keep(all, s, &h->flight);
    set_timer(all, s);
    session_log_established(all, s, h);
    end_oldest_of_identity(all, s);
}

struct session *session_begin(struct sessions *all, struct handshake *h, const struct taken *taken,
                              const struct arrival *last, enum handshake_result *why)
{
    all->now_ms = last->now_ms;
    uint32_t bucket = bucket_of(all, &h->entry.key.client);
    struct session *s = make(all, h, taken);
    *why = HANDSHAKE_internal_error;
    if (s == NULL)
        return NULL;
    struct session *leaving = leaving_for(all, h);
    enum handshake_result fault = find_fault(all, h, bucket, leaving);
    if (fault != HANDSHAKE_established) {
        *why = fault;
        refuse(all, s);
        return NULL;
    }
    make_room(all, h, leaving);
    if (!take_slot(all, s, bucket)) { /* no memory for one more */
        *why = HANDSHAKE_no_backend_address;
        refuse(all, s);
        return NULL;
    }
    if (!enter_tables(all, s)) {
        backend_release(all->backend, s->slot, CLOSE_replaced, all->now_ms);
        refuse(all, s);
        return NULL;
    }
    establish(all, s, h);
    (void)path_on_authentic(all, s, last, true); /* the device's Finished */
    return s;
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void leave_books(struct sessions *all, struct session *s, enum close_reason reason)
{
    struct counters *c = session_counters(all, s);
    session_log_closed(all, s, reason);
    counter_add(&c->closed[reason], 1);
    counter_subtract(&c->sessions, 1);
    if (s->who != NULL && session_listener(all, s)->config->sessions_per_identity != 0) {
        struct identities_key key;
        make_identity_key(all, s, &key);
        identities_end(all->identities, &key, name_of(all, s));
    }
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
    const struct association_call call = call_of(&t, false);
    if (s->state != SESSION_ESTABLISHED)
        return;
    all->now_ms = now_ms;
    if (with_farewell)
        association_send_alert(&s->association, &call, ALERT_CLOSE_NOTIFY);
    leave_books(all, s, reason);
    session_store_drop_rare(all, s);
    if (reason == CLOSE_closed_by_client && association_has_gap(&s->association)) {
        closing_begin(all, s);
        return;
    }
    s->state = SESSION_ENDED;
    session_store_retire(all, s);
}

void sessions_end_replaced(struct sessions *all, const struct identities_session *session,
                           uint64_t now_ms)
{
    struct session *s = backend_owner(all->backend, session->slot);
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
        all->is_ending_quietly = !is_told;
        session_end(all, s, CLOSE_shutdown, is_told, now_ms);
    }
    session_log_untold(untold);
    closing_end_all(all);
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
    log_limiter_flush(&all->limiter, now_ms);
}

uint64_t sessions_due_ms(const struct sessions *all)
{
    uint64_t due_ms = earlier(timers_next_due_ms(&all->timers), closing_due_ms(all));
    /* Lines held back are reported when the second has ended. */
    return all->limiter.held_back != 0 ? earlier(due_ms, all->now_ms + 1000) : due_ms;
}

void sessions_reap(struct sessions *all)
{
    session_store_reap(all);
}
