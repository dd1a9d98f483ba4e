#include "handshake/handshake_end.h"

#include "handshake/handshake_log.h"
#include "wire/message.h"

static bool may_log(struct handshakes *all, struct log_limiter *limiter)
{
    return log_is_enabled(LOG_INFO) && log_limiter_allows(limiter, all->now_ms);
}

static struct handshake_subject subject_of(const struct handshake *h)
{
    return (struct handshake_subject){
        .listener = h->listener, .client = &h->entry.key.client, .number = h->number};
}

/* An identity that was named proves nothing, if in the end a certificate was asked for. */
static enum credential credential_tried(const struct dtls *dtls, enum handshake_result result)
{
    const struct dtls_peer *peer = dtls->peer;
    if (result == HANDSHAKE_no_certificate)
        return CREDENTIAL_NONE;
    if (peer->certificate_flaw != FLAW_NONE || peer->is_certificate_good)
        return CREDENTIAL_CERTIFICATE;
    return peer->identity_len > 0 ? CREDENTIAL_PSK : CREDENTIAL_UNKNOWN;
}

static void count_failed(struct handshakes *all, const struct listener *listener,
                         enum dtls_version version, enum credential credential,
                         enum handshake_result result)
{
    counter_add(&handshake_counters(all, listener)->handshakes[version][credential][result], 1);
}

/* What became of the handshake of an identity, which may be none: kept for who asks, and traced. */
static void note_failed(struct handshakes *all, const struct handshake_subject *subject,
                        const struct handshake_failure *failure, const uint8_t *identity,
                        size_t len, uint64_t took_ms)
{
    if (failure->result != HANDSHAKE_shutdown)
        failures_note(&all->failures, subject, failure, identity, len, all->now_ms);
    if (trace_wants(&all->trace, identity, len, all->now_ms))
        handshake_log_traced(subject, failure->result, failure->detail, failure->version, took_ms);
}

void handshake_fail(struct handshakes *all, struct handshake *h, enum handshake_result result,
                    const char *detail, uint64_t now_ms)
{
    all->now_ms = now_ms;
    bool is_complete = h->dtls == NULL;
    const struct handshake_subject subject = subject_of(h);
    const struct handshake_failure failure = {
        .result = result,
        .detail = detail,
        .version = is_complete ? h->who.version : dtls_version(h->dtls),
        .dtls = h->dtls,
        .progress = &h->flight.progress,
    };
    enum credential credential =
        is_complete ? h->who.credential : credential_tried(h->dtls, result);
    count_failed(all, h->listener, failure.version, credential, result);
    if (may_log(all, &all->limiter))
        handshake_log_failed(&subject, &failure);
    note_failed(all, &subject, &failure, is_complete ? h->who.identity : h->dtls->peer->identity,
                is_complete ? h->who.identity_len : h->dtls->peer->identity_len,
                all->now_ms - h->begun_ms);
    if (!is_complete)
        refusal_keep(&all->refusals, &h->flight, all->now_ms);
    handshake_store_retire(all, h);
}

/* Over what the library says, or over nothing that has come in time. */
void handshake_fail_as_library_says(struct handshakes *all, struct handshake *h)
{
    const char *detail;
    enum handshake_result result = dtls_failure(h->dtls, &detail);
    if (result == HANDSHAKE_timeout)
        detail = progress_tell(&h->flight.progress, dtls_has_unreadable(h->dtls)).words;
    handshake_fail(all, h, result, detail, all->now_ms);
}

void handshake_tell_stalled(struct handshakes *all, struct handshake *h,
                            enum handshake_result reason, const char *detail)
{
    const struct handshake_subject subject = subject_of(h);
    if (!h->has_stalled && may_log(all, &all->limiter))
        handshake_log_stalled(&subject, h->dtls, reason, detail);
    h->has_stalled = true;
}

void handshake_succeed(struct handshakes *all, struct handshake *h, uint64_t now_ms)
{
    static const uint32_t bounds_ms[HANDSHAKE_BUCKET_COUNT] = {HANDSHAKE_BUCKETS_MS};
    struct counters *c = handshake_counters(all, h->listener);
    uint64_t took_ms = now_ms - h->begun_ms;
    uint32_t bucket = 0;

    all->now_ms = now_ms;
    while (bucket < HANDSHAKE_BUCKET_COUNT && took_ms > bounds_ms[bucket])
        bucket++;
    if (h->who.is_resumed)
        counter_add(&c->resumptions[h->who.version][h->who.credential], 1);
    else
        counter_add(&c->handshakes[h->who.version][h->who.credential][HANDSHAKE_established], 1);
    counter_add(&c->handshake_ms_bucket[bucket], 1);
    counter_add(&c->handshake_ms_sum, took_ms);
    if (trace_wants(&all->trace, h->who.identity, h->who.identity_len, now_ms)) {
        const struct handshake_subject subject = subject_of(h);
        handshake_log_traced(&subject, HANDSHAKE_established, "", h->who.version, took_ms);
    }
    handshake_store_retire(all, h);
}

void handshakes_on_refused(struct handshakes *all, struct cookie_result *cookie,
                           const struct arrival *a)
{
    const struct handshake_subject subject = {.listener = a->listener,
                                              .client = &a->datagram->from};
    struct handshake_failure failure = {.version = dtls_version(cookie->dtls),
                                        .dtls = cookie->dtls};
    all->now_ms = a->now_ms;
    failure.result = dtls_failure(cookie->dtls, &failure.detail);
    count_failed(all, a->listener, failure.version, credential_tried(cookie->dtls, failure.result),
                 failure.result);
    if (may_log(all, &all->limiter))
        handshake_log_failed(&subject, &failure);
    note_failed(all, &subject, &failure, cookie->dtls->peer->identity,
                cookie->dtls->peer->identity_len, 0);
    cookie_drop(cookie);
}

void handshakes_on_ticket_unusable(struct handshakes *all, const struct arrival *a)
{
    const struct handshake_subject subject = {.listener = a->listener,
                                              .client = &a->datagram->from};
    all->now_ms = a->now_ms;
    const struct handshake_failure failure = {.result = HANDSHAKE_client_alert,
                                              .detail = alert_name(a->kind.alert_code),
                                              .version = VERSION_1_3};
    count_failed(all, a->listener, VERSION_1_3, CREDENTIAL_UNKNOWN, HANDSHAKE_client_alert);
    note_failed(all, &subject, &failure, NULL, 0, 0);
    if (may_log(all, &all->limiter))
        handshake_log_ticket_unusable(&subject, a->kind.alert_code);
}

void handshakes_on_hello_ignored(struct handshakes *all, const struct cookie_result *cookie,
                                 const struct arrival *a)
{
    const struct handshake_subject subject = {.listener = a->listener,
                                              .client = &a->datagram->from};
    all->now_ms = a->now_ms;
    if (may_log(all, &all->stranger_limiter))
        handshake_log_hello_ignored(&subject, a->datagram->data, a->datagram->len, cookie->reason,
                                    cookie->detail);
}

void handshakes_on_stranger_alert(struct handshakes *all, const struct arrival *a,
                                  bool has_old_ticket)
{
    const struct handshake_subject subject = {.listener = a->listener,
                                              .client = &a->datagram->from};
    all->now_ms = a->now_ms;
    if (may_log(all, &all->stranger_limiter))
        handshake_log_stranger_alert(&subject, a->kind.alert_code, has_old_ticket);
}

bool handshakes_end_some(struct handshakes *all, uint32_t listener, const struct udp_socket *socket,
                         uint32_t max, uint64_t now_ms)
{
    struct handshake *next;
    for (struct handshake *h = all->orders[listener].oldest; h != NULL; h = next) {
        next = h->newer;
        if (socket != NULL && h->flight.way.socket != socket)
            continue;
        if (max-- == 0)
            return true;
        handshake_fail(all, h, HANDSHAKE_shutdown, "the gate does not listen there any more",
                       now_ms);
    }
    return false;
}

void handshakes_end_all(struct handshakes *all, uint64_t now_ms)
{
    all->now_ms = now_ms;
    struct handshake *h;
    while ((h = handshake_store_oldest(all)) != NULL)
        handshake_fail(all, h, HANDSHAKE_shutdown, "", all->now_ms);
}
