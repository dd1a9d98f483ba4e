#include "worker/datapath.h"

#include <string.h>

#include "net/steering.h"
#include "session/session_linger.h"
#include "session/session_log.h"
#include "wire/classify.h"
#include "wire/role.h"
#include "worker/datapath_priority.h"

/* One datagram on its way: what is known of it, and what is needed to answer. */
struct passage {
    struct datapath *dp;
    const struct listener *listener;
    const struct udp_socket *socket;
    const struct udp_datagram *datagram;
    struct classified kind;
    bool *send_failed; /* set when the kernel does not take what the datagram became */
};

/* ---- from the device ------------------------------------------------------------------------ */

/* Hands one record's plaintext, which is already in the room of the batch, to the backend. */
static void to_backend(struct passage *p, struct session *s, size_t len)
{
    backend_send(&p->dp->backend, s->slot, s->listener->index, len, p->send_failed);
    session_on_data_from_client(s);
}

static void end_session(struct session *s, enum dtls_event event)
{
    switch (event) {
    case DTLS_CLOSED: session_end(s, CLOSE_closed_by_client, true); break;
    case DTLS_FORGED: session_end(s, CLOSE_forgery_limit, true); break;
    default: session_end(s, CLOSE_fatal_alert, false); break;
    }
}

/* Everything that came of feeding a datagram to a session. */
static enum client_outcome run_session(struct passage *p, struct session *s,
                                       enum client_outcome if_nothing)
{
    enum client_outcome outcome = if_nothing;
    size_t len;

    for (;;) {
        uint8_t *room = backend_room(&p->dp->backend, DTLS_PLAINTEXT_MAX);
        enum dtls_event event = dtls_next(s->dtls, room, &len);
        switch (event) {
        case DTLS_PLAINTEXT:
            to_backend(p, s, len);
            outcome = CLIENT_forwarded;
            continue;
        case DTLS_ESTABLISHED:
            if (!session_on_established(s))
                return CLIENT_handshake_failed;
            outcome = CLIENT_established;
            continue;
        case DTLS_DONE: break;
        case DTLS_CLOSED:
        case DTLS_ALERTED:
        case DTLS_FORGED:
        case DTLS_FAILED:
            if (s->state == SESSION_HANDSHAKE) {
                session_on_failed(s);
                return CLIENT_handshake_failed;
            }
            end_session(s, event);
            return outcome == CLIENT_forwarded ? outcome : CLIENT_session_closed;
        }
        break;
    }
    if (outcome == CLIENT_control && s->dtls->has_refused)
        outcome = CLIENT_renegotiation_refused;
    uint32_t discarded = dtls_discarded(s->dtls);
    session_on_fed(s, discarded != 0);
    if (discarded != 0) {
        struct counters *c = &p->dp->counters.by_listener[p->listener->index];
        counter_add(&c->records_discarded, discarded);
        if (outcome == CLIENT_control)
            outcome = CLIENT_record_discarded;
    }
    if (s->state == SESSION_ENDED)
        return if_nothing == CLIENT_control ? CLIENT_session_closed : CLIENT_handshake_failed;
    return outcome;
}

/* Feeds bytes of the datagram, from wherever it came. The device's address is only moved by a
 * record that is authentic and newer than all before it (RFC 9146 section 6). This gate is ours:
 * the library would move its own with any record that decrypts. */
static enum client_outcome feed(struct passage *p, struct session *s, size_t len,
                                enum client_outcome if_nothing)
{
    struct dtls_record_number before = dtls_newest(s->dtls);
    session_feed(s, p->datagram->data, len);
    enum client_outcome outcome = run_session(p, s, if_nothing);
    if (s->state != SESSION_ESTABLISHED || outcome == CLIENT_record_discarded)
        return outcome;
    bool is_newest = dtls_is_newer(dtls_newest(s->dtls), before);
    session_path_on_authentic(s, p->datagram, p->socket, is_newest);
    return outcome;
}

/* A datagram for an established session. Only its protected records are looked at: nothing in
 * plaintext can be authentic, and the library would let some of it end the session. A handshake in
 * which the device has not used the session yet may go on: it repeats its last flight, which begins
 * in plaintext, because ours was lost. */
static enum client_outcome to_established(struct passage *p, struct session *s)
{
    if (p->kind.protected_len == 0) {
        if (s->handshake == NULL)
            return CLIENT_record_discarded;
        session_flight_repeat(s);
        return CLIENT_handshake;
    }
    switch (session_wake_for_client(s)) {
    case SESSION_AWAKE: break;
    case SESSION_LIMITED: return CLIENT_limit_parked;
    case SESSION_NO_MEMORY: return CLIENT_out_of_memory;
    }
    enum client_outcome outcome = feed(p, s, p->kind.protected_len, CLIENT_control);
    session_settle(s, outcome != CLIENT_record_discarded);
    if (outcome == CLIENT_control && s->handshake != NULL &&
        (p->kind.cid != NULL || p->kind.first_type == CLASSIFY_HANDSHAKE)) {
        /* No data, and no data before it: the device's Finished again, without what goes before. */
        session_flight_repeat(s);
        return CLIENT_handshake;
    }
    return outcome;
}

/* All that a handshake can use, but no alert in plaintext: the library would end the handshake over
 * it, and anybody can send one. */
static enum client_outcome to_handshake(struct passage *p, struct session *s)
{
    enum client_outcome outcome = CLIENT_handshake;
    if (p->kind.before_alert_len != 0)
        outcome = feed(p, s, p->kind.before_alert_len, CLIENT_handshake);
    if (s->state == SESSION_HANDSHAKE && p->kind.before_alert_len < p->kind.usable_len)
        session_on_plain_alert(s, p->kind.alert_level, p->kind.alert_code);
    /* In a resumed handshake of DTLS 1.2 the device has the last word. If it is lost the device
     * does not know, and sends data; our flight again makes it repeat its own. */
    if (s->state == SESSION_HANDSHAKE && p->kind.kind == DATAGRAM_PROTECTED &&
        dtls_version(s->dtls) == VERSION_1_2 && dtls_is_resumed(s->dtls))
        session_flight_repeat(s);
    return outcome;
}

/* Protected records while a new handshake runs at the address of an established session: they may
 * be of either. What the old session does not authenticate goes to the new one. */
static enum client_outcome to_either(struct passage *p, struct session *s)
{
    uint64_t number = s->number;
    enum client_outcome outcome = to_established(p, s);
    if (outcome != CLIENT_record_discarded)
        return outcome;
    struct session *now = sessions_find(&p->dp->sessions, p->listener, &p->datagram->from);
    if (now == NULL || now->number != number || now->successor == NULL)
        return outcome;
    return to_handshake(p, now->successor);
}

static bool is_of_hello(const struct passage *p, const struct session *s)
{
    return s != NULL && (p->kind.is_later_fragment || p->kind.hello_tag == s->hello_tag);
}

/* A hello that is repeated later than any network delays it comes from a device without a random
 * generator, after a reboot. */
static bool is_recent(const struct session *s)
{
    enum { DUPLICATE_MS = 10000 };
    return s->all->now_ms - s->begun_ms < DUPLICATE_MS;
}

static void answer_stranger(struct passage *p, const uint8_t *reply, size_t len)
{
    struct datapath *dp = p->dp;
    memcpy(udp_out_room(&dp->to_client, len), reply, len);
    udp_out_queue(&dp->to_client, p->socket, &p->datagram->to, &p->datagram->from, len, NULL);
}

static enum client_outcome over_limit(struct passage *p, enum client_outcome limit)
{
    session_log_limit(&p->dp->sessions, p->listener, limit);
    return limit;
}

/* A session that ends to make room for the new one leaves it its address, if need be. */
static bool may_get_address(const struct passage *p)
{
    struct sessions *all = &p->dp->sessions;
    uint32_t bucket = sessions_bucket_of(all, &p->datagram->from);
    return !backend_is_exhausted(&p->dp->backend, bucket, all->now_ms) ||
           all->established_count >= all->session_max ||
           sessions_find(all, p->listener, &p->datagram->from) != NULL;
}

static enum client_outcome begin_handshake(struct passage *p, struct dtls *dtls)
{
    struct datapath *dp = p->dp;
    const struct udp_datagram *d = p->datagram;
    struct datapath_limits *limits = &dp->limits[p->listener->index];
    struct counters *c = &dp->counters.by_listener[p->listener->index];
    bool goes_first = datapath_priority_has(&dp->sessions, p->listener, d);
    bool is_full = counter_get(&c->handshakes_in_progress) >=
                   datapath_priority_share(limits->handshake_max, goes_first);
    struct session *slow =
        is_full ? sessions_find_slow_handshake(&dp->sessions, p->listener) : NULL;
    if (is_full && slow == NULL) {
        dtls_free(dtls);
        return over_limit(p, CLIENT_limit_handshakes);
    }
    if (!may_get_address(p)) {
        dtls_free(dtls);
        return over_limit(p, CLIENT_no_backend_address);
    }
    if (!limit_take(&limits->handshakes, dp->sessions.now_ms, goes_first)) {
        dtls_free(dtls);
        return over_limit(p, CLIENT_limit_handshakes_per_s);
    }
    if (slow != NULL)
        session_fail(slow, HANDSHAKE_superseded, "it gave way to another device at max_handshakes");
    struct session *s =
        session_begin(&dp->sessions, dtls, p->socket, &d->from, &d->to, p->kind.hello_tag);
    if (s == NULL)
        return CLIENT_out_of_memory;
    return run_session(p, s, CLIENT_handshake_begun);
}

/* A ClientHello that no handshake in progress knows: by way of the cookie, whoever sends it. */
static enum client_outcome from_stranger(struct passage *p)
{
    struct datapath *dp = p->dp;
    const struct udp_datagram *d = p->datagram;
    if (p->kind.is_later_fragment)
        return CLIENT_hello_fragmented;
    struct limit_prefixes *hellos = &dp->limits[p->listener->index].hellos;
    if (hellos->per_s != 0 &&
        !limit_take_prefix(hellos, &d->from, dp->sessions.now_ms,
                           datapath_priority_has(&dp->sessions, p->listener, d)))
        return over_limit(p, CLIENT_limit_hellos_per_prefix);
    struct cookie_result result =
        cookie_check(&dp->fronts[p->listener->index], &d->from, d->data, p->kind.before_alert_len,
                     p->kind.has_cookie, dp->sessions.now_ms);
    switch (result.verdict) {
    case COOKIE_ANSWER:
        if (!role_may_send(p->listener->config->role, ROLE_STRANGER, result.reply, result.reply_len,
                           d->len))
            return CLIENT_hello_ignored;
        answer_stranger(p, result.reply, result.reply_len);
        datapath_tickets_note(&dp->tickets, &dp->sessions, p->listener, d, result.reply,
                              result.reply_len);
        return CLIENT_cookie_sent;
    case COOKIE_GOOD: return begin_handshake(p, result.dtls);
    case COOKIE_FAILED:
        if (role_may_send(p->listener->config->role, ROLE_HANDSHAKE, result.reply, result.reply_len,
                          d->len))
            answer_stranger(p, result.reply, result.reply_len);
        sessions_on_refused(&dp->sessions, result.dtls, &d->from);
        dtls_free(result.dtls);
        return CLIENT_handshake_failed;
    case COOKIE_BAD: return CLIENT_cookie_bad;
    case COOKIE_IGNORED:
        if (p->kind.is_fragment)
            return CLIENT_hello_fragmented;
        session_log_hello_ignored(&dp->sessions, p->listener, d, result.reason, result.detail);
        return CLIENT_hello_ignored;
    case COOKIE_NO_MEMORY: break;
    }
    return CLIENT_out_of_memory;
}

static enum client_outcome hello(struct passage *p)
{
    struct session *s = sessions_find(&p->dp->sessions, p->listener, &p->datagram->from);
    if (s == NULL)
        return from_stranger(p);
    struct session *handshake = s->state == SESSION_HANDSHAKE ? s : s->successor;
    if (is_of_hello(p, handshake)) {
        if (!p->kind.is_later_fragment)
            session_flight_repeat(handshake);
        return handshake->state == SESSION_HANDSHAKE ? to_handshake(p, handshake)
                                                     : CLIENT_handshake_failed;
    }
    if (s->state == SESSION_ESTABLISHED && is_of_hello(p, s) && is_recent(s))
        return CLIENT_hello_duplicate;
    return from_stranger(p);
}

/* Of a device that has no session; perhaps it does not know yet that its handshake has failed. */
static enum client_outcome from_nobody(struct passage *p, enum client_outcome outcome)
{
    enum { ALERT_FATAL = 2 };
    const struct sessions *all = &p->dp->sessions;
    const struct steering steering = {.worker_count = all->worker_count,
                                      .cid_length = p->listener->config->cid_bytes};
    const struct udp_datagram *d = p->datagram;
    if (steering_socket_of(&steering, &d->from, d->data, d->len) != all->worker)
        return CLIENT_wrong_worker;
    enum datapath_ticket ticket =
        datapath_tickets_take(&p->dp->tickets, all, p->listener, d, &p->kind);
    if (ticket == DATAPATH_TICKET_KNOWN) {
        sessions_on_ticket_unusable(&p->dp->sessions, p->listener, &d->from, p->kind.alert_code);
        return CLIENT_handshake_failed;
    }
    if (p->kind.alert_level == ALERT_FATAL && p->kind.before_alert_len == 0)
        session_log_stranger_alert(&p->dp->sessions, p->listener, &d->from, p->kind.alert_code,
                                   ticket == DATAPATH_TICKET_OLD);
    return classify_is_of_flight(&p->kind) &&
                   session_refusal_repeat(&p->dp->sessions, p->listener, p->datagram)
               ? CLIENT_alert_repeated
               : outcome;
}

/* Records with a connection ID, whatever their address. */
static enum client_outcome by_cid(struct passage *p)
{
    const struct sessions *all = &p->dp->sessions;
    struct session *s = sessions_find_cid(all, p->listener, p->kind.cid);
    if (s == NULL)
        return from_nobody(p, CLIENT_cid_unknown);
    if (s->state == SESSION_ESTABLISHED)
        return to_established(p, s);
    /* From elsewhere, plaintext of this handshake would be anybody's. */
    if (!addr_equal(&p->datagram->from, &s->entry.key.client))
        p->kind.usable_len = p->kind.before_alert_len = p->kind.protected_len;
    return to_handshake(p, s);
}

/* Records without a connection ID. Once protected, they are of no session that has one (RFC 9146
 * section 3). */
static enum client_outcome by_address(struct passage *p)
{
    const struct sessions *all = &p->dp->sessions;
    const struct addr *from = &p->datagram->from;
    struct session *s = sessions_find(all, p->listener, from);
    if (s == NULL)
        return from_nobody(p, CLIENT_no_session);
    struct session *established = s->state == SESSION_ESTABLISHED ? s : NULL;
    struct session *handshake = s->state == SESSION_HANDSHAKE ? s : s->successor;
    if (p->kind.kind == DATAGRAM_PROTECTED) {
        if (established != NULL && session_path_has_cid(&established->cid_entry))
            established = NULL;
        if (handshake != NULL && session_path_has_cid(&handshake->cid_entry))
            handshake = NULL;
    }
    if (established == NULL)
        return handshake != NULL ? to_handshake(p, handshake) : CLIENT_cid_missing;
    if (handshake == NULL)
        return to_established(p, established);
    /* An established session has no use for handshake records, protected or not. */
    return p->kind.protected_len != 0 ? to_either(p, established) : to_handshake(p, handshake);
}

static enum client_outcome from_client(struct passage *p)
{
    if (p->dp->is_stopping)
        return CLIENT_shutting_down;
    p->kind = classify(p->datagram->data, p->datagram->len, p->listener->config->cid_bytes);
    if (p->kind.kind == DATAGRAM_JUNK)
        return CLIENT_not_dtls;
    if (p->kind.kind == DATAGRAM_HELLO)
        return hello(p);
    if (session_linger_forward(&p->dp->sessions, p->listener, p->datagram, &p->kind,
                               p->send_failed))
        return CLIENT_forwarded;
    return p->kind.cid != NULL ? by_cid(p) : by_address(p);
}

void datapath_from_client(struct datapath *dp, uint32_t listener, const struct udp_socket *socket,
                          const struct udp_in *batch, uint64_t now_ms)
{
    struct counters *c = &dp->counters.by_listener[listener];
    enum client_outcome outcomes[UDP_BATCH];
    bool send_failed[UDP_BATCH] = {false};
    dp->sessions.now_ms = now_ms;

    for (uint32_t i = 0; i < batch->count; i++) {
        struct passage p = {.dp = dp,
                            .listener = &dp->generation->listeners[listener],
                            .socket = socket,
                            .datagram = &batch->at[i],
                            .send_failed = &send_failed[i]};
        outcomes[i] = from_client(&p);
    }
    backend_flush(&dp->backend);
    udp_out_flush(&dp->to_client);
    sessions_reap(&dp->sessions);

    counters_begin_turn(&dp->counters);
    counter_add(&c->client_received, batch->count);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (send_failed[i]) {
            outcomes[i] = CLIENT_backend_send_failed;
            session_log_send_failed(&dp->sessions, &dp->generation->listeners[listener],
                                    backend_send_error(&dp->backend));
        }
        counter_add(&c->client[outcomes[i]], 1);
    }
    counters_end_turn(&dp->counters);
    counter_add(&c->client_kernel_drops, batch->new_kernel_drops);
}

/* ---- from the backend ----------------------------------------------------------------------- */

struct backend_fate {
    enum backend_outcome outcome;
    uint32_t listener; /* whose counters; the extra entry if none */
    unsigned late;     /* reason, with BACKEND_late */
};

/* The fate of a datagram that is for nobody is known already. */
static struct backend_fate from_backend(struct datapath *dp, const struct udp_datagram *d,
                                        const struct backend_recipient *recipient,
                                        bool *send_failed)
{
    struct session *s = recipient->owner;
    bool is_known = recipient->listener < dp->counters.listener_count;
    struct backend_fate fate = {.outcome = recipient->outcome,
                                .listener =
                                    is_known ? recipient->listener : dp->counters.listener_count,
                                .late = recipient->late};
    if (fate.outcome == BACKEND_wrong_sender)
        session_log_wrong_sender(&dp->sessions, &dp->generation->listeners[fate.listener],
                                 &d->from);
    if (s == NULL)
        return fate;
    if (d->len == 0) {
        fate.outcome = BACKEND_empty;
        return fate;
    }
    if (!session_wake_for_backend(s)) {
        fate.outcome = BACKEND_encrypt_failed;
        return fate;
    }
    dp->sessions.client_send_failed = send_failed;
    dp->sessions.is_kept_back = false;
    enum dtls_sent sent = dtls_send(s->dtls, d->data, d->len);
    dp->sessions.client_send_failed = NULL;
    switch (sent) {
    case DTLS_SENT:
        if (dp->sessions.is_kept_back) {
            fate.outcome = BACKEND_address_unproved;
            break;
        }
        session_on_data_from_backend(s);
        fate.outcome = BACKEND_forwarded;
        break;
    case DTLS_TOO_LARGE:
        session_log_too_large(s, d->len);
        fate.outcome = BACKEND_too_large;
        break;
    case DTLS_NOT_SENT: fate.outcome = BACKEND_encrypt_failed; break;
    }
    session_settle(s, true);
    return fate;
}

void datapath_from_backend(struct datapath *dp, const struct udp_in *batch, uint64_t now_ms)
{
    struct backend_fate fates[UDP_BATCH];
    bool send_failed[UDP_BATCH] = {false};
    uint32_t count = 0; /* without our own marks */
    dp->sessions.now_ms = now_ms;

    for (uint32_t i = 0; i < batch->count; i++) {
        const struct udp_datagram *d = &batch->at[i];
        struct backend_recipient recipient = backend_recipient(&dp->backend, d, now_ms);
        if (recipient.is_mark)
            continue;
        fates[count] = from_backend(dp, d, &recipient, &send_failed[count]);
        count++;
    }
    udp_out_flush(&dp->to_client);
    backend_on_batch(&dp->backend, batch->count < UDP_BATCH, now_ms);

    counters_begin_turn(&dp->counters);
    for (uint32_t i = 0; i < count; i++) {
        struct counters *c = &dp->counters.by_listener[fates[i].listener];
        counter_add(&c->backend_received, 1);
        counter_add(&c->backend[send_failed[i] ? BACKEND_client_send_failed : fates[i].outcome], 1);
        if (fates[i].outcome == BACKEND_late)
            counter_add(&c->late[fates[i].late], 1);
    }
    counters_end_turn(&dp->counters);
    counter_add(&dp->counters.by_listener[dp->counters.listener_count].backend_kernel_drops,
                batch->new_kernel_drops);
}

void datapath_backend_errors(struct datapath *dp, uint64_t now_ms)
{
    uint32_t listener;
    int error;
    dp->sessions.now_ms = now_ms;
    for (int i = 0; i < UDP_BATCH && backend_take_error(&dp->backend, &listener, &error); i++) {
        bool is_known = listener < dp->counters.listener_count;
        if (is_known)
            session_log_backend_error(&dp->sessions, &dp->generation->listeners[listener], error);
        else
            listener = dp->counters.listener_count;
        counter_add(&dp->counters.by_listener[listener].backend_icmp_errors, 1);
    }
}

/* ---- time, and ends asked for elsewhere ------------------------------------------------------ */

uint64_t datapath_tick(struct datapath *dp, uint64_t now_ms)
{
    dp->sessions.now_ms = now_ms;
    sessions_on_time(&dp->sessions);
    udp_out_flush(&dp->to_client);
    sessions_reap(&dp->sessions);
    uint64_t rest_due_ms = backend_on_time(&dp->backend, now_ms);
    uint64_t due_ms = sessions_next_due_ms(&dp->sessions);
    return rest_due_ms < due_ms ? rest_due_ms : due_ms;
}

void datapath_end_session(struct datapath *dp, const struct identities_session *session,
                          uint64_t now_ms)
{
    dp->sessions.now_ms = now_ms;
    sessions_end_replaced(&dp->sessions, session);
    udp_out_flush(&dp->to_client);
    sessions_reap(&dp->sessions);
}
