#include "handshake/handshake_log.h"

#include <string.h>

#include "wire/message.h"

/* After an alert of a device that offers a ticket. */
static const char advice_on_tickets[] =
    "it cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets = 1.2";

static void add_subject(struct log_line *line, const struct handshake_subject *subject)
{
    char text[ADDR_TEXT_MAX];
    log_add(line, "listener", subject->listener->config->name);
    if (subject->number != 0)
        log_add_u64(line, "session", subject->number);
    log_add(line, "client", addr_format(subject->client, text));
}

static void add_certificate(struct log_line *line, const struct certificate_summary *certificate)
{
    log_add(line, "serial", certificate->serial);
    log_add(line, "not_after", certificate->not_after);
    log_add_bytes(line, "subject", certificate->subject, strlen(certificate->subject));
    log_add_bytes(line, "issuer", certificate->issuer, strlen(certificate->issuer));
}

/* What the device offers helps where nothing is in common, or where it may be that. */
static bool needs_offer(enum handshake_result result)
{
    switch (result) {
    case HANDSHAKE_no_common_suite:
    case HANDSHAKE_version:
    case HANDSHAKE_no_certificate:
    case HANDSHAKE_protocol_error: return true;
    default: return false;
    }
}

static void add_offer(struct log_line *line, const struct hello_offer *offer)
{
    char text[HELLO_OFFER_TEXT_MAX];
    if (offer->is_read)
        log_add(line, "offered", hello_offer_format(offer, text));
}

/* How far a handshake came that was given up, for whatever reason the device had. */
static void add_progress(struct log_line *line, const struct handshake_failure *failure)
{
    bool is_given_up = failure->result == HANDSHAKE_timeout ||
                       failure->result == HANDSHAKE_client_alert ||
                       failure->result == HANDSHAKE_superseded;
    if (failure->progress == NULL || failure->dtls == NULL || !is_given_up)
        return;
    struct progress_story story =
        progress_tell(failure->progress, dtls_has_unreadable(failure->dtls));
    log_add_u64(line, "flight", story.flight);
    log_add_u64(line, "sent", failure->progress->sent);
    log_add_u64(line, "largest", failure->progress->largest_bytes);
    log_add(line, "came_back", story.came_back);
}

static void add_peer(struct log_line *line, const struct handshake_failure *failure)
{
    const struct dtls_peer *peer = failure->dtls != NULL ? failure->dtls->peer : NULL;
    if (peer == NULL)
        return;
    if (peer->identity_len > 0)
        log_add_bytes(line, "identity", peer->identity, peer->identity_len);
    if (needs_offer(failure->result))
        add_offer(line, &peer->offer);
    if (peer->refused != NULL)
        add_certificate(line, peer->refused);
}

/* A device that has had enough says nothing about its ticket. */
static bool is_about_ticket(const struct handshake_failure *failure)
{
    const char *alert = failure->detail;
    return failure->result == HANDSHAKE_client_alert && failure->version == VERSION_1_3 &&
           failure->progress != NULL && failure->dtls != NULL && dtls_is_resumed(failure->dtls) &&
           strcmp(alert, "close_notify") != 0 && strcmp(alert, "user_canceled") != 0;
}

void handshake_log_failed(const struct handshake_subject *subject,
                          const struct handshake_failure *failure)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_failed");
    add_subject(&line, subject);
    log_add(&line, "reason", handshake_result_name(failure->result));
    if (failure->detail[0] != '\0')
        log_add(&line, "detail", failure->detail);
    log_add(&line, "version", dtls_version_name(failure->version));
    add_progress(&line, failure);
    if (is_about_ticket(failure))
        log_add(&line, "advice", advice_on_tickets);
    add_peer(&line, failure);
    log_end(&line);
}

void handshake_log_traced(const struct handshake_subject *subject, enum handshake_result result,
                          const char *detail, enum dtls_version version, uint64_t took_ms)
{
    struct log_line line;
    log_begin_always(&line, LOG_DEBUG, "trace_handshake");
    add_subject(&line, subject);
    log_add(&line, "result", handshake_result_name(result));
    if (detail[0] != '\0')
        log_add(&line, "detail", detail);
    log_add(&line, "version", dtls_version_name(version));
    log_add_ms(&line, "took_s", took_ms);
    log_end(&line);
}

void handshake_log_ticket_unusable(const struct handshake_subject *subject, uint8_t alert)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_failed");
    add_subject(&line, subject);
    log_add(&line, "reason", handshake_result_name(HANDSHAKE_client_alert));
    log_add(&line, "detail", alert_name(alert));
    log_add(&line, "version", dtls_version_name(VERSION_1_3));
    log_add(&line, "advice", advice_on_tickets);
    log_end(&line);
}

void handshake_log_stalled(const struct handshake_subject *subject, const struct dtls *dtls,
                           enum handshake_result reason, const char *detail)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_stalled");
    add_subject(&line, subject);
    log_add(&line, "reason", handshake_result_name(reason));
    if (detail[0] != '\0')
        log_add(&line, "detail", detail);
    if (dtls->peer->identity_len > 0)
        log_add_bytes(&line, "identity", dtls->peer->identity, dtls->peer->identity_len);
    log_end(&line);
}

void handshake_log_hello_ignored(const struct handshake_subject *subject, const uint8_t *hello,
                                 size_t len, enum handshake_result reason, const char *detail)
{
    struct log_line line;
    struct hello_offer offer = {0};
    log_begin(&line, LOG_INFO, "hello_ignored");
    add_subject(&line, subject);
    log_add(&line, "reason", handshake_result_name(reason));
    if (detail[0] != '\0')
        log_add(&line, "detail", detail);
    hello_offer_read(&offer, hello, len);
    add_offer(&line, &offer);
    log_end(&line);
}

void handshake_log_stranger_alert(const struct handshake_subject *subject, uint8_t alert,
                                  bool has_old_ticket)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "stranger_alert");
    add_subject(&line, subject);
    log_add(&line, "detail", alert_name(alert));
    if (has_old_ticket)
        log_add(&line, "advice",
                "it cannot use the ticket of DTLS 1.3 that it has from before, as wolfSSL before "
                "5.9.1: let it forget that, and set tickets = 1.2");
    log_end(&line);
}
