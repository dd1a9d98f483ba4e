#include "session/session.h"

#include <string.h>

#include "session/session_linger.h"
#include "session/session_log.h"

enum {
    /* Between two refusals of a renegotiation. Some libraries end a session over a handful. */
    REFUSAL_INTERVAL_MS = 1000,
    /* A device that gave up sends nothing more; one that did not goes on, or repeats itself. */
    GIVE_UP_MS = 10000,
    /* How long the last flight of DTLS 1.2 is kept for a device that has not used its session yet:
     * twice the longest life of a datagram (RFC 6347 section 4.2.4). */
    LAST_FLIGHT_MS = 240000,
    /* Of a handshake, with all repetitions: a dozen of the largest. */
    FED_BYTES_MAX = 128 * 1024,
};

static struct counters *counters_of(const struct sessions *all, const struct listener *listener)
{
    return &all->counters->by_listener[listener->index];
}

/* ---- counting ------------------------------------------------------------------------------- */

static void count_established(const struct session *s, enum credential credential)
{
    static const uint32_t bounds_ms[HANDSHAKE_BUCKET_COUNT] = {HANDSHAKE_BUCKETS_MS};
    struct counters *c = counters_of(s->all, s->listener);
    uint64_t took_ms = s->all->now_ms - s->begun_ms;
    uint32_t bucket = 0;

    while (bucket < HANDSHAKE_BUCKET_COUNT && took_ms > bounds_ms[bucket])
        bucket++;
    if (dtls_is_resumed(s->dtls))
        counter_add(&c->resumptions[s->version][credential], 1);
    else
        counter_add(&c->handshakes[s->version][credential][HANDSHAKE_established], 1);
    counter_add(&c->handshake_ms_bucket[bucket], 1);
    counter_add(&c->handshake_ms_sum, took_ms);
    counter_add(&c->sessions, 1);
}

/* An identity that was named proves nothing, if in the end a certificate was asked for. */
static enum credential credential_tried(const struct dtls *dtls, enum handshake_result result)
{
    if (result == HANDSHAKE_no_certificate)
        return CREDENTIAL_NONE;
    if (dtls->peer == NULL)
        return CREDENTIAL_UNKNOWN;
    if (dtls->peer->certificate_flaw != FLAW_NONE || dtls->peer->is_certificate_good)
        return CREDENTIAL_CERTIFICATE;
    return dtls->peer->identity_len > 0 ? CREDENTIAL_PSK : CREDENTIAL_UNKNOWN;
}

static void count_failed(struct sessions *all, const struct dtls *dtls,
                         enum handshake_result result)
{
    struct counters *c = counters_of(all, dtls->listener);
    counter_add(&c->handshakes[dtls_version(dtls)][credential_tried(dtls, result)][result], 1);
}

void sessions_on_refused(struct sessions *all, const struct dtls *dtls, const struct addr *client)
{
    const char *detail;
    enum handshake_result result = dtls_failure(dtls, &detail);
    count_failed(all, dtls, result);
    session_log_refused(all, dtls, client, result, detail);
}

void sessions_on_ticket_unusable(struct sessions *all, const struct listener *listener,
                                 const struct addr *client, uint8_t alert)
{
    struct counters *c = counters_of(all, listener);
    counter_add(&c->handshakes[VERSION_1_3][CREDENTIAL_UNKNOWN][HANDSHAKE_client_alert], 1);
    session_log_ticket_unusable(all, listener, client, alert);
}

/* ---- in use --------------------------------------------------------------------------------- */

static void mark_used(struct session *s)
{
    s->last_used_ms = s->all->now_ms;
    session_stay_awake(s);
    if (s->all->most_recent != s) {
        sessions_forget_use(s);
        sessions_note_use(s);
    } else if (s->all->next_to_park == NULL) {
        s->all->next_to_park = s; /* it was parked since */
    }
}

static void forget_plain_alert(struct session *s);

void session_feed(struct session *s, const uint8_t *data, size_t len)
{
    if (s->state == SESSION_HANDSHAKE) {
        forget_plain_alert(s);
        session_progress_on_feed(&s->handshake->progress, data, len);
    }
    session_flight_on_feed(s);
    s->last_fed_bytes = (uint32_t)len;
    s->fed_bytes += s->last_fed_bytes;
    s->dtls->is_refusal_silent = s->all->now_ms < s->refusal_due_ms;
    dtls_feed(s->dtls, data, len, s->all->now_ms);
}

void session_on_data_from_client(struct session *s)
{
    /* The device has the last flight, or it would not use the keys. */
    session_flight_free(s);
    s->fed_bytes = s->last_fed_bytes = 0;
    s->from_client++;
    mark_used(s);
}

void session_on_data_from_backend(struct session *s)
{
    s->from_backend++;
    mark_used(s);
}

/* ---- deadlines ------------------------------------------------------------------------------ */

/* handshake_timeout while in the handshake, an idle timeout afterwards. */
static uint64_t end_due_ms(const struct session *s)
{
    const struct listener_config *config = s->listener->config;
    if (s->state == SESSION_HANDSHAKE) {
        uint64_t timeout_ms = s->begun_ms + config->handshake_timeout_ms;
        return s->handshake->given_up_ms < timeout_ms ? s->handshake->given_up_ms : timeout_ms;
    }
    return s->last_used_ms + (session_path_has_cid(&s->cid_entry) ? config->idle_timeout_cid_ms
                                                                  : config->idle_timeout_ms);
}

static uint64_t last_flight_due_ms(const struct session *s)
{
    bool is_kept = s->state == SESSION_ESTABLISHED && s->handshake != NULL;
    return is_kept && s->version == VERSION_1_2 ? s->established_ms + LAST_FLIGHT_MS : TIMERS_NONE;
}

/* A deadline that moved away is noticed when the timer fires: a datagram then costs no heap
 * operation. */
static void set_timer(struct session *s)
{
    uint64_t due_ms = end_due_ms(s);
    if (session_flight_due_ms(s) < due_ms)
        due_ms = session_flight_due_ms(s);
    if (last_flight_due_ms(s) < due_ms)
        due_ms = last_flight_due_ms(s);
    if (s->timer.place == 0 || due_ms < s->timer.due_ms)
        timers_set(&s->all->timers, &s->timer, due_ms);
}

void session_on_plain_alert(struct session *s, uint8_t level, uint8_t code)
{
    enum { FATAL = 2, CLOSE_NOTIFY = 0 };
    struct session_handshake *h = s->handshake;
    if ((level != FATAL && code != CLOSE_NOTIFY) || h->given_up_ms != TIMERS_NONE)
        return;
    h->alert_code = code;
    h->given_up_ms = s->all->now_ms + GIVE_UP_MS;
    s->retransmit_due_ms = s->ack_due_ms = TIMERS_NONE;
    if (!s->has_stalled)
        session_log_stalled(s, HANDSHAKE_client_alert, dtls_alert_name(code));
    s->has_stalled = true;
    set_timer(s);
}

/* The device goes on, so the alert was not its own. */
static void forget_plain_alert(struct session *s)
{
    if (s->handshake->given_up_ms == TIMERS_NONE)
        return;
    s->handshake->given_up_ms = TIMERS_NONE;
    s->retransmit_due_ms = s->all->now_ms + s->retransmit_after_ms;
}

/* A wrong PSK shows in DTLS 1.2 only by a Finished that does not decrypt. */
static void notice_wrong_key(struct session *s)
{
    const char *detail;
    if (s->state != SESSION_HANDSHAKE || s->has_stalled ||
        dtls_failure(s->dtls, &detail) != HANDSHAKE_wrong_key)
        return;
    s->has_stalled = true;
    session_log_stalled(s, HANDSHAKE_wrong_key, "");
}

/* The library keeps what it cannot use yet: fragments of handshake messages, in DTLS 1.3 up to 3 MB
 * of them, also after the handshake. So there is a bound on what comes without any data. False if
 * the session has ended over it. */
static bool is_within_bounds(struct session *s)
{
    /* A stranger's records do not count, unless the device's own stand before them. */
    if (s->state == SESSION_ESTABLISHED && !dtls_has_received(s->dtls))
        s->fed_bytes -= s->last_fed_bytes;
    s->last_fed_bytes = 0;
    if (s->fed_bytes <= FED_BYTES_MAX)
        return true;
    if (s->state == SESSION_HANDSHAKE)
        session_fail(s, HANDSHAKE_protocol_error, "too many bytes");
    else
        session_end(s, CLOSE_fatal_alert, true);
    return false;
}

void session_on_fed(struct session *s, bool was_discarded)
{
    if (!is_within_bounds(s))
        return;
    if (s->state == SESSION_HANDSHAKE)
        session_progress_on_fed(&s->handshake->progress, was_discarded, dtls_was_ack(s->dtls));
    session_path_settle_cid(s);
    notice_wrong_key(s);
    if (s->dtls->has_refused && !s->dtls->is_refusal_silent)
        s->refusal_due_ms = s->all->now_ms + REFUSAL_INTERVAL_MS;
    session_flight_on_fed(s, was_discarded);
    set_timer(s);
}

void session_on_timer(struct session *s)
{
    uint64_t now_ms = s->all->now_ms;
    if (s->state == SESSION_HANDSHAKE && now_ms >= end_due_ms(s)) {
        if (now_ms >= s->handshake->given_up_ms)
            session_fail(s, HANDSHAKE_client_alert, dtls_alert_name(s->handshake->alert_code));
        else
            session_on_failed(s);
        return;
    }
    if (s->state == SESSION_ESTABLISHED && now_ms >= end_due_ms(s)) {
        session_end(s, CLOSE_idle, true);
        return;
    }
    if (now_ms >= last_flight_due_ms(s))
        session_flight_free(s);
    session_flight_on_timer(s);
    if (s->state != SESSION_ENDED)
        set_timer(s);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

struct session *session_begin(struct sessions *all, struct dtls *dtls,
                              const struct udp_socket *socket, const struct addr *client,
                              const struct addr *local, uint64_t hello_tag)
{
    struct session *old = sessions_find(all, dtls->listener, client);
    if (old != NULL && old->state == SESSION_HANDSHAKE) {
        session_end(old, CLOSE_replaced, false);
        old = NULL;
    } else if (old != NULL && old->successor != NULL) {
        session_end(old->successor, CLOSE_replaced, false);
    }

    struct session *s = slabs_take(&all->slabs, sizeof(*s));
    struct session_handshake *h = slabs_take(&all->slabs, sizeof(*h));
    if (s == NULL || h == NULL || !sessions_reserve_timer(all))
        goto out_of_memory;
    s->entry.key = (struct table_key){.client = *client, .listener = dtls->listener->index};
    s->all = all;
    s->dtls = dtls;
    s->handshake = h;
    s->listener = dtls->listener;
    s->path = (struct session_path){.local = *local, .socket = socket, .is_proved = true};
    s->number = all->next_number;
    s->hello_tag = hello_tag;
    s->begun_ms = all->now_ms;
    s->retransmit_due_ms = s->ack_due_ms = h->given_up_ms = TIMERS_NONE;
    s->slot = BACKEND_NO_SLOT;
    s->state = SESSION_HANDSHAKE;
    s->retransmit_after_ms = (uint32_t)s->listener->config->retransmit_ms;
    if (!session_path_take_cid(s) || (old == NULL && !session_table_add(&all->table, &s->entry))) {
        session_table_remove_cid(&all->table, &s->cid_entry);
        goto out_of_memory;
    }
    if (old != NULL) {
        old->successor = s;
        s->predecessor = old;
    }
    session_refusal_forget(all, s->listener, client);
    dtls_set_sender(dtls, session_flight_on_record, s);
    all->next_number += all->number_step;
    all->handshake_count++;
    sessions_note_use(s);
    counter_add(&counters_of(all, s->listener)->handshakes_in_progress, 1);
    return s;

out_of_memory:
    slabs_give(&all->slabs, h, sizeof(*h));
    slabs_give(&all->slabs, s, sizeof(*s));
    dtls_free(dtls);
    return NULL;
}

/* Takes a handshake out of the books and of the table, and sets it aside to be freed. */
void session_retire(struct session *s)
{
    struct sessions *all = s->all;
    timers_cancel(&all->timers, &s->timer);
    if (s->predecessor != NULL)
        s->predecessor->successor = NULL;
    s->predecessor = NULL;
    session_path_leave_address(s);
    session_table_remove_cid(&all->table, &s->cid_entry);
    s->state = SESSION_ENDED;
    dtls_free(s->dtls);
    s->dtls = NULL;
    park_drop(&all->park, s->parked);
    s->parked = NULL;
    session_flight_free(s);
    s->less_recent = all->ended;
    all->ended = s;
}

static void leave_handshake(struct session *s)
{
    sessions_forget_use(s);
    s->all->handshake_count--;
    counter_subtract(&counters_of(s->all, s->listener)->handshakes_in_progress, 1);
}

void session_fail(struct session *s, enum handshake_result result, const char *detail)
{
    count_failed(s->all, s->dtls, result);
    session_log_failed(s, result, detail);
    session_refusal_keep(s);
    leave_handshake(s);
    session_retire(s);
}

void session_on_failed(struct session *s)
{
    const char *detail;
    enum handshake_result result = dtls_failure(s->dtls, &detail);
    if (result == HANDSHAKE_timeout)
        detail = session_progress_tell(&s->handshake->progress, dtls_has_unreadable(s->dtls)).words;
    session_fail(s, result, detail);
}

static void evict_least_recent(struct sessions *all)
{
    if (all->established_count >= all->session_max && all->least_recent != NULL)
        session_end(all->least_recent, CLOSE_evicted, true);
}

static void note_identity(struct session *s, enum credential credential)
{
    const struct dtls_peer *peer = s->dtls->peer;
    s->is_anonymous = credential == CREDENTIAL_NONE;
    identities_make_key(s->all->shared.identities, s->listener->index, credential, peer->identity,
                        peer->identity_len, &s->identity);
}

/* A device that reboots begins anew from its old address (RFC 6347 section 4.2.8). But a NAT also
 * gives that address to another device: then a session that is found by its connection ID goes on,
 * and only its place in the table of addresses is lost. */
static bool outlives(const struct session *old, const struct session *s)
{
    bool is_other_device = !old->is_anonymous && !s->is_anonymous &&
                           memcmp(&old->identity, &s->identity, sizeof(s->identity)) != 0;
    return is_other_device && session_path_has_cid(&old->cid_entry);
}

static void succeed(struct session *old, const struct session *s)
{
    if (outlives(old, s))
        session_path_leave_address(old);
    else
        session_end(old, CLOSE_replaced, false);
}

/* There is a backend address for the session, or will be when another one has made way for it. */
static bool is_address_left(const struct session *s)
{
    const struct sessions *all = s->all;
    const struct session *leaving = NULL;
    uint32_t bucket = session_path_bucket(s);
    if (!backend_is_exhausted(all->backend, bucket, all->now_ms))
        return true;
    if (s->predecessor != NULL && !outlives(s->predecessor, s))
        leaving = s->predecessor;
    else if (all->established_count >= all->session_max)
        leaving = all->least_recent;
    return leaving != NULL && slots_bucket_of(leaving->slot) == bucket &&
           !backend_is_noisy(all->backend, leaving->slot);
}

/* Nobody has to leave for it. */
static void refuse_without_address(struct session *s)
{
    session_log_limit(s->all, s->listener, CLIENT_no_backend_address);
    dtls_send_close_notify(s->dtls); /* the device believes that it has a session */
    session_fail(s, HANDSHAKE_no_backend_address, "");
}

static struct identities_session name_of(const struct session *s)
{
    return (struct identities_session){
        .worker = s->all->worker, .slot = s->slot, .number = s->number};
}

/* sessions_per_identity, over all workers. */
static void end_oldest_of_identity(struct session *s)
{
    const struct sessions_shared *shared = &s->all->shared;
    struct identities_session oldest;
    if (s->is_anonymous ||
        !identities_begin(shared->identities, &s->identity,
                          s->listener->config->sessions_per_identity, name_of(s), &oldest))
        return;
    if (oldest.worker == s->all->worker)
        sessions_end_replaced(s->all, &oldest);
    else
        shared->end_elsewhere(shared->context, &oldest);
}

bool session_on_established(struct session *s)
{
    struct sessions *all = s->all;
    enum credential credential = dtls_credential(s->dtls);
    bool is_early = false;

    if (credential == CREDENTIAL_NONE && s->listener->config->client_auth == CLIENT_AUTH_REQUIRED) {
        dtls_send_close_notify(s->dtls); /* the device believes that it has a session */
        session_fail(s, HANDSHAKE_no_certificate, "");
        return false;
    }
    note_identity(s, credential);
    if (!is_address_left(s)) {
        refuse_without_address(s);
        return false;
    }
    if (s->predecessor != NULL)
        succeed(s->predecessor, s);
    if (s->state == SESSION_ENDED)
        return false; /* no memory for its own place in the table */
    evict_least_recent(all);
    s->slot = backend_take(all->backend, session_path_bucket(s), s, s->listener->index, all->now_ms,
                           &is_early);
    if (s->slot == BACKEND_NO_SLOT) { /* no memory for one more */
        refuse_without_address(s);
        return false;
    }
    if (is_early)
        counter_add(&counters_of(all, s->listener)->backend_addresses_taken_early, 1);
    session_linger_yield(all, s->slot);
    sessions_make_room(all);
    leave_handshake(s);
    s->state = SESSION_ESTABLISHED;
    s->version = (uint8_t)dtls_version(s->dtls);
    s->fed_bytes = s->last_fed_bytes = 0;
    s->established_ms = s->last_used_ms = all->now_ms;
    if (s->version == VERSION_1_2)
        s->retransmit_due_ms = s->ack_due_ms = TIMERS_NONE;
    all->established_count++;
    session_count_live(s, true);
    sessions_note_use(s);
    count_established(s, credential);
    session_log_established(s, credential);
    dtls_forget_handshake(s->dtls);
    end_oldest_of_identity(s);
    return true;
}

void session_end(struct session *s, enum close_reason reason, bool with_farewell)
{
    struct sessions *all = s->all;
    if (s->state == SESSION_ENDED)
        return;
    if (s->state == SESSION_HANDSHAKE) {
        session_fail(s, reason == CLOSE_shutdown ? HANDSHAKE_shutdown : HANDSHAKE_superseded, "");
        return;
    }
    if (with_farewell && session_wake(s))
        dtls_send_close_notify(s->dtls);
    if (s->parked == NULL)
        session_count_live(s, false);
    else
        counter_subtract(&counters_of(all, s->listener)->sessions_parked, 1);
    session_log_closed(s, reason);
    counter_add(&counters_of(all, s->listener)->closed[reason], 1);
    counter_subtract(&counters_of(all, s->listener)->sessions, 1);
    if (!s->is_anonymous && s->listener->config->sessions_per_identity != 0)
        identities_end(all->shared.identities, &s->identity, name_of(s));
    backend_release(all->backend, s->slot, reason, all->now_ms);
    if (reason == CLOSE_closed_by_client)
        session_linger_begin(s);
    all->established_count--;
    sessions_forget_use(s);
    session_retire(s);
}
