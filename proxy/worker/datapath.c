#include "worker/datapath.h"

#include <string.h>

#include "net/steering.h"
#include "wire/role.h"

/* ---- from a device -------------------------------------------------------------------------- */

/* Nothing waits for the backend or the device any more that points into the batch. */
void datapath_flush(struct datapath *dp)
{
    backend_flush(&dp->backend);
    udp_out_flush(&dp->to_client);
    handshakes_reap(&dp->handshakes);
    sessions_reap(&dp->sessions);
}

/* What the device sent before its handshake was complete is of the session, and so is the rest of
 * the datagram that completed it (T2, T1). */
static enum client_outcome hand_over_rest(struct datapath *dp, const struct handshake *h,
                                          struct session *s, const struct arrival *a,
                                          uint32_t used_bytes)
{
    enum client_outcome early = CLIENT_established, rest = CLIENT_established;
    if (h->early_len != 0)
        early = session_receive_rest(&dp->sessions, s, a, h->early, h->early_len);
    if (a->kind.usable_len > used_bytes)
        rest = session_receive_rest(&dp->sessions, s, a, a->datagram->data + used_bytes,
                                    a->kind.usable_len - used_bytes);
    bool has_data = early == CLIENT_forwarded || rest == CLIENT_forwarded;
    return has_data ? CLIENT_forwarded : CLIENT_established;
}

static enum client_outcome establish(struct datapath *dp, struct handshake *h,
                                     const struct arrival *a, struct handshake_step *step)
{
    enum handshake_result why;
    struct session *s = session_begin(&dp->sessions, h, &step->taken, a, &why);
    taken_wipe(&step->taken);
    if (s == NULL) {
        if (why == HANDSHAKE_no_backend_address)
            datapath_log_limit(&dp->log, a->listener, CLIENT_no_backend_address);
        handshake_fail(&dp->handshakes, h, why, "", a->now_ms);
        return CLIENT_handshake_failed;
    }
    enum client_outcome outcome = hand_over_rest(dp, h, s, a, step->used_bytes);
    handshake_succeed(&dp->handshakes, h, a->now_ms);
    return outcome;
}

/* The first len bytes of it. */
static enum client_outcome to_handshake(struct datapath *dp, struct handshake *h,
                                        const struct arrival *a, size_t len)
{
    struct handshake_step step;
    handshake_receive(&dp->handshakes, h, a, len, &step);
    return step.is_complete ? establish(dp, h, a, &step) : step.outcome;
}

static counter *client_bytes_sent(const struct datapath *dp, const struct arrival *a)
{
    return &dp->counters.by_listener[a->listener->number].client_bytes_sent;
}

static void answer_stranger(struct datapath *dp, const struct arrival *a,
                            const struct cookie_result *cookie)
{
    memcpy(udp_out_room(&dp->to_client, cookie->reply_len), cookie->reply, cookie->reply_len);
    udp_out_queue(&dp->to_client, a->socket, &a->datagram->to, &a->datagram->from,
                  cookie->reply_len, NULL, client_bytes_sent(dp, a));
}

static bool may_answer(const struct arrival *a, enum role_phase phase,
                       const struct cookie_result *cookie)
{
    return role_may_send(a->listener->config->role, phase, cookie->reply, cookie->reply_len,
                         a->datagram->len);
}

static enum client_outcome begin_handshake(struct datapath *dp, const struct arrival *a,
                                           struct cookie_result *cookie)
{
    struct handshake_step step;
    struct handshake *slow;
    enum client_outcome outcome =
        admission_of_handshake(&dp->admission, &dp->handshakes, &dp->sessions, a, &slow);
    if (outcome != CLIENT_handshake_begun) {
        cookie_drop(cookie);
        datapath_log_limit(&dp->log, a->listener, outcome);
        return outcome;
    }
    if (slow != NULL)
        handshake_fail(&dp->handshakes, slow, HANDSHAKE_superseded,
                       "it gave way to another device at max_handshakes", a->now_ms);
    struct handshake *h = handshake_begin(&dp->handshakes, cookie, a, &step);
    return h != NULL && step.is_complete ? establish(dp, h, a, &step) : step.outcome;
}

static enum client_outcome cookie_refused(struct datapath *dp, const struct arrival *a,
                                          struct cookie_result *cookie)
{
    if (may_answer(a, ROLE_HANDSHAKE, cookie))
        answer_stranger(dp, a, cookie);
    handshakes_on_refused(&dp->handshakes, cookie, a);
    return CLIENT_handshake_failed;
}

/* A ClientHello that no handshake in progress knows: by way of the cookie, whoever sends it. */
static enum client_outcome from_stranger(struct datapath *dp, const struct arrival *a)
{
    if (a->kind.is_later_fragment)
        return CLIENT_hello_fragmented;
    uint32_t number = a->listener->number;
    if (dp->is_draining[number] || generation_listener(dp->generation, number) == NULL)
        return CLIENT_draining;
    enum client_outcome outcome = admission_of_hello(&dp->admission, &dp->sessions, a);
    if (outcome != CLIENT_cookie_sent) {
        datapath_log_limit(&dp->log, a->listener, outcome);
        return outcome;
    }
    struct cookie_result cookie =
        cookie_check(&dp->fronts[a->listener->number], &a->datagram->from, a->datagram->data,
                     a->kind.before_alert_len, a->kind.has_cookie, a->now_ms);
    switch (cookie.verdict) {
    case COOKIE_ANSWER:
        if (!may_answer(a, ROLE_STRANGER, &cookie))
            return CLIENT_hello_ignored;
        answer_stranger(dp, a, &cookie);
        unusable_tickets_note(&dp->tickets, a, cookie.reply, cookie.reply_len);
        return CLIENT_cookie_sent;
    case COOKIE_GOOD: return begin_handshake(dp, a, &cookie);
    case COOKIE_FAILED: return cookie_refused(dp, a, &cookie);
    case COOKIE_BAD: return CLIENT_cookie_bad;
    case COOKIE_IGNORED:
        if (a->kind.is_fragment)
            return CLIENT_hello_fragmented;
        handshakes_on_hello_ignored(&dp->handshakes, &cookie, a);
        return CLIENT_hello_ignored;
    case COOKIE_NO_MEMORY: break;
    }
    return CLIENT_out_of_memory;
}

static bool is_of_hello(const struct arrival *a, uint64_t hello_tag)
{
    return a->kind.is_later_fragment || (uint32_t)a->kind.hello_tag == (uint32_t)hello_tag;
}

static enum client_outcome hello(struct datapath *dp, const struct arrival *a)
{
    struct handshake *h = handshakes_find(&dp->handshakes, a->listener, &a->datagram->from);
    if (h != NULL && is_of_hello(a, h->hello_tag)) {
        if (!a->kind.is_later_fragment)
            handshake_repeat(&dp->handshakes, h, a->now_ms);
        return h->state == HANDSHAKE_ENDED ? CLIENT_handshake_failed
                                           : to_handshake(dp, h, a, a->kind.usable_len);
    }
    const struct session *s = sessions_find(&dp->sessions, a->listener, &a->datagram->from);
    if (s != NULL && is_of_hello(a, session_who(s)->hello_tag) && session_is_recent(s, a->now_ms))
        return CLIENT_hello_duplicate;
    return from_stranger(dp, a);
}

/* Of a device that has no session; perhaps it does not know yet that its handshake has failed. */
static enum client_outcome from_nobody(struct datapath *dp, const struct arrival *a,
                                       enum client_outcome outcome)
{
    const struct udp_datagram *d = a->datagram;
    const struct steering steering = {.worker_count = dp->worker_count,
                                      .cid_length = a->listener->config->cid_bytes};
    if (steering_socket_of(&steering, &d->from, d->data, d->len) != dp->worker)
        return CLIENT_wrong_worker;
    enum ticket_noted ticket = unusable_tickets_take(&dp->tickets, a);
    if (ticket == TICKET_NOTED_KNOWN) {
        handshakes_on_ticket_unusable(&dp->handshakes, a);
        return CLIENT_handshake_failed;
    }
    if (a->kind.alert_level == ALERT_FATAL && a->kind.before_alert_len == 0)
        handshakes_on_stranger_alert(&dp->handshakes, a, ticket == TICKET_NOTED_OLD);
    return classify_is_of_flight(&a->kind) &&
                   refusal_repeat(&dp->handshakes.refusals, a, &dp->to_client,
                                  client_bytes_sent(dp, a))
               ? CLIENT_alert_repeated
               : outcome;
}

/* Records with a connection ID, whatever their address. */
static enum client_outcome by_cid(struct datapath *dp, const struct arrival *a)
{
    struct session *s = sessions_find_cid(&dp->sessions, a->listener, a->kind.cid);
    if (s != NULL)
        return session_receive(&dp->sessions, s, a, false);
    struct handshake *h = handshakes_find_cid(&dp->handshakes, a->listener, a->kind.cid);
    if (h == NULL)
        return from_nobody(dp, a, CLIENT_cid_unknown);
    /* From elsewhere, plaintext of this handshake would be anybody's. */
    bool is_from_there = addr_equal(&a->datagram->from, &h->entry.key.client);
    return to_handshake(dp, h, a, is_from_there ? a->kind.usable_len : a->kind.protected_len);
}

/* Records without a connection ID. While a handshake runs at the address of an established session,
 * they may be of either: what the session does not authenticate goes to the handshake. */
static enum client_outcome by_address(struct datapath *dp, const struct arrival *a)
{
    bool is_protected = a->kind.kind == DATAGRAM_PROTECTED;
    struct session *s = sessions_find(&dp->sessions, a->listener, &a->datagram->from);
    struct handshake *h = handshakes_find(&dp->handshakes, a->listener, &a->datagram->from);
    if (s == NULL && h == NULL)
        return from_nobody(dp, a, CLIENT_no_session);
    /* Once protected, they are of none that has a connection ID (RFC 9146 section 3). */
    if (is_protected && s != NULL && s->association.cid_len != 0)
        s = NULL;
    if (is_protected && h != NULL && h->cid_entry.cid_len != 0)
        h = NULL;
    if (s == NULL && h == NULL)
        return CLIENT_cid_missing;
    if (s == NULL || (h != NULL && !is_protected))
        return to_handshake(dp, h, a, a->kind.usable_len);
    enum client_outcome outcome = session_receive(&dp->sessions, s, a, h != NULL);
    if (h == NULL || outcome != CLIENT_record_discarded)
        return outcome;
    return to_handshake(dp, h, a, a->kind.usable_len);
}

static enum client_outcome from_client(struct datapath *dp, struct arrival *a)
{
    const struct udp_datagram *d = a->datagram;
    if (dp->is_stopping)
        return CLIENT_shutting_down;
    a->kind = classify(d->data, d->len, a->listener->config->cid_bytes);
    if (a->kind.kind == DATAGRAM_JUNK)
        return CLIENT_not_dtls;
    if (a->kind.kind == DATAGRAM_HELLO)
        return hello(dp, a);
    if (sessions_receive_closing(&dp->sessions, a))
        return CLIENT_forwarded;
    return a->kind.cid != NULL ? by_cid(dp, a) : by_address(dp, a);
}

static void tell_from_client(struct datapath *dp, uint32_t listener, const struct udp_in *batch,
                             const enum client_outcome *outcomes)
{
    if (!log_is_enabled(LOG_DEBUG))
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        datapath_log_from_client(&dp->log, dp->listeners[listener], &batch->at[i], outcomes[i]);
}

void datapath_from_client(struct datapath *dp, uint32_t listener, const struct udp_socket *socket,
                          const struct udp_in *batch, uint64_t now_ms)
{
    struct counters *c = &dp->counters.by_listener[listener];
    enum client_outcome outcomes[UDP_BATCH];
    bool send_failed[UDP_BATCH] = {false};
    uint64_t bytes = 0;
    dp->log.now_ms = now_ms;

    for (uint32_t i = 0; i < batch->count; i++) {
        struct arrival arrival = {.listener = dp->listeners[listener],
                                  .socket = socket,
                                  .datagram = &batch->at[i],
                                  .now_ms = now_ms,
                                  .send_failed = &send_failed[i]};
        outcomes[i] = from_client(dp, &arrival);
        bytes += batch->at[i].len;
        dp->data_count += outcomes[i] == CLIENT_forwarded;
        dp->begun_count += outcomes[i] == CLIENT_handshake_begun;
    }
    datapath_flush(dp);

    counters_begin_turn(&dp->counters);
    counter_add(&c->client_received, batch->count);
    counter_add(&c->client_bytes_received, bytes);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (send_failed[i]) {
            outcomes[i] = CLIENT_backend_send_failed;
            datapath_log_send_failed(&dp->log, dp->listeners[listener],
                                     backend_send_error(&dp->backend));
        }
        counter_add(&c->client[outcomes[i]], 1);
    }
    counters_end_turn(&dp->counters);
    counter_add(&c->client_kernel_drops, batch->new_kernel_drops);
    tell_from_client(dp, listener, batch, outcomes);
}

/* ---- from a backend ------------------------------------------------------------------------- */

/* What becomes of a datagram that is for nobody is known already. */
static enum backend_outcome from_backend(struct datapath *dp, const struct udp_datagram *d,
                                         const struct backend_recipient *recipient,
                                         bool *send_failed, uint64_t now_ms)
{
    if (recipient->owner != BACKEND_NO_OWNER)
        return session_send(&dp->sessions, cells_at(&dp->sessions.cells, recipient->owner), d->data,
                            d->len, send_failed, now_ms);
    if (recipient->outcome == BACKEND_wrong_sender && dp->listeners[recipient->listener] != NULL)
        datapath_log_wrong_sender(&dp->log, dp->listeners[recipient->listener], &d->from);
    return recipient->outcome;
}

/* The entry behind the last one is for what is of no listener. */
static struct counters *counters_of(struct datapath *dp, uint32_t listener)
{
    uint32_t count = dp->counters.listener_count;
    return &dp->counters.by_listener[listener < count ? listener : count];
}

static void tell_from_backend(struct datapath *dp, const struct udp_in *batch,
                              const struct backend_recipient *recipients,
                              const enum backend_outcome *outcomes)
{
    bool tells_all = log_is_enabled(LOG_DEBUG);
    if (!tells_all && dp->log.down_count == 0)
        return;
    for (uint32_t i = 0; i < batch->count; i++) {
        if (recipients[i].is_mark)
            continue;
        uint32_t number = recipients[i].listener;
        const struct listener *listener =
            number < LAYOUT_LISTENERS_MAX ? dp->listeners[number] : NULL;
        if (listener != NULL && outcomes[i] != BACKEND_wrong_sender)
            datapath_log_backend_answers(&dp->log, listener);
        if (tells_all)
            datapath_log_from_backend(&dp->log, listener, &batch->at[i], outcomes[i],
                                      recipients[i].late);
    }
}

void datapath_from_backend(struct datapath *dp, const struct udp_in *batch, uint64_t now_ms)
{
    struct backend_recipient recipients[UDP_BATCH];
    enum backend_outcome outcomes[UDP_BATCH];
    bool send_failed[UDP_BATCH] = {false};
    dp->log.now_ms = now_ms;

    for (uint32_t i = 0; i < batch->count; i++) {
        recipients[i] = backend_recipient(&dp->backend, &batch->at[i], now_ms);
        if (recipients[i].is_mark)
            continue;
        outcomes[i] = from_backend(dp, &batch->at[i], &recipients[i], &send_failed[i], now_ms);
        dp->data_count += outcomes[i] == BACKEND_forwarded;
    }
    datapath_flush(dp);
    backend_on_batch(&dp->backend, batch->count < UDP_BATCH, now_ms);

    counters_begin_turn(&dp->counters);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (recipients[i].is_mark)
            continue;
        struct counters *c = counters_of(dp, recipients[i].listener);
        counter_add(&c->backend_received, 1);
        counter_add(&c->backend_bytes_received, batch->at[i].len);
        if (send_failed[i])
            outcomes[i] = BACKEND_client_send_failed;
        counter_add(&c->backend[outcomes[i]], 1);
        if (outcomes[i] == BACKEND_late)
            counter_add(&c->late[recipients[i].late], 1);
    }
    counters_end_turn(&dp->counters);
    counter_add(&counters_of(dp, UINT32_MAX)->backend_kernel_drops, batch->new_kernel_drops);
    tell_from_backend(dp, batch, recipients, outcomes);
}

void datapath_backend_errors(struct datapath *dp, uint64_t now_ms)
{
    uint32_t listener;
    int error;
    dp->log.now_ms = now_ms;
    for (int i = 0; i < UDP_BATCH && backend_take_error(&dp->backend, &listener, &error); i++) {
        counter_add(&counters_of(dp, listener)->backend_icmp_errors, 1);
        if (listener < LAYOUT_LISTENERS_MAX && dp->listeners[listener] != NULL)
            datapath_log_backend_error(&dp->log, dp->listeners[listener], error);
    }
}

/* ---- time, and ends asked for elsewhere ------------------------------------------------------ */

uint64_t datapath_tick(struct datapath *dp, uint64_t now_ms)
{
    handshakes_on_time(&dp->handshakes, now_ms);
    sessions_on_time(&dp->sessions, now_ms);
    datapath_log_on_time(&dp->log, now_ms);
    datapath_flush(dp);
    uint64_t due_ms = backend_on_time(&dp->backend, now_ms);
    due_ms = timers_earlier(due_ms, handshakes_due_ms(&dp->handshakes));
    due_ms = timers_earlier(due_ms, sessions_due_ms(&dp->sessions));
    return timers_earlier(due_ms, datapath_log_due_ms(&dp->log));
}

void datapath_end_session(struct datapath *dp, const struct identities_session *session,
                          uint64_t now_ms)
{
    sessions_end_replaced(&dp->sessions, session, now_ms);
    datapath_flush(dp);
}
