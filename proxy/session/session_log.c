#include "session/session_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* After an alert of a device that offers a ticket. */
static const char advice_on_tickets[] =
    "it cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets = 1.2";

static bool may_log(struct sessions *sessions, enum log_level level)
{
    return log_is_enabled(level) && log_limiter_allows(&sessions->limiter, sessions->now_ms);
}

/* Begin and end of a session; without a credential a stranger can cause these lines. */
static bool may_log_life(const struct session *s)
{
    return s->is_anonymous ? may_log(s->all, LOG_INFO) : log_is_enabled(LOG_INFO);
}

static void add_cid(struct log_line *line, const struct table_cid_entry *entry)
{
    char text[2 * TABLE_CID_MAX + 1];
    for (size_t i = 0; i < entry->cid_len; i++)
        snprintf(text + 2 * i, 3, "%02x", entry->cid[i]);
    if (entry->cid_len != 0)
        log_add(line, "cid", text);
}

static void add_certificate(struct log_line *line, const struct certificate_summary *certificate)
{
    log_add(line, "serial", certificate->serial);
    log_add(line, "not_after", certificate->not_after);
    log_add(line, "subject", certificate->subject);
    log_add(line, "issuer", certificate->issuer);
}

static void add_who(struct log_line *line, const struct listener *listener, uint64_t number,
                    const struct addr *client)
{
    char text[ADDR_TEXT_MAX];
    log_add(line, "listener", listener->config->name);
    if (number != 0)
        log_add_u64(line, "session", number);
    log_add(line, "client", addr_format(client, text));
}

void session_log_established(const struct session *s, enum credential credential)
{
    if (!may_log_life(s))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    struct addr source = backend_slot_addr(s->all->backend, s->slot);
    log_begin(&line, LOG_INFO, "session_established");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add(&line, "version", dtls_version_name(s->version));
    log_add(&line, "suite", dtls_suite(s->dtls));
    log_add(&line, "credential", credential_name(credential));
    if (credential != CREDENTIAL_NONE)
        log_add_bytes(&line, "identity", s->dtls->peer->identity, s->dtls->peer->identity_len);
    log_add(&line, "resumed", dtls_is_resumed(s->dtls) ? "yes" : "no");
    log_add(&line, "backend_source", addr_format(&source, text));
    add_cid(&line, &s->cid_entry);
    log_add_ms(&line, "handshake_s", s->all->now_ms - s->begun_ms);
    log_end(&line);
}

void session_log_moved(struct session *s, const struct addr *to)
{
    if (!may_log(s->all, LOG_DEBUG))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_DEBUG, "client_moved");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add(&line, "to", addr_format(to, text));
    log_end(&line);
}

void session_log_closed(const struct session *s, enum close_reason reason)
{
    if (s->all->is_ending_quietly || !may_log_life(s))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "session_closed");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add(&line, "reason", close_reason_name(reason));
    log_add_ms(&line, "duration_s", s->all->now_ms - s->established_ms);
    log_add_u64(&line, "from_client", s->from_client);
    log_add_u64(&line, "from_backend", s->from_backend);
    log_end(&line);
}

void session_log_untold(uint32_t count)
{
    if (count == 0 || !log_is_enabled(LOG_INFO))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "sessions_closed");
    log_add_u64(&line, "count", count);
    log_add(&line, "reason", close_reason_name(CLOSE_shutdown));
    log_add(&line, "text", "parked sessions whose devices were not told");
    log_end(&line);
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
static void add_progress(struct log_line *line, const struct session *s)
{
    const struct session_progress *progress = &s->handshake->progress;
    struct session_progress_story story =
        session_progress_tell(progress, dtls_has_unreadable(s->dtls));
    log_add_u64(line, "flight", story.flight);
    log_add_u64(line, "sent", progress->sent);
    log_add_u64(line, "largest", progress->largest_bytes);
    log_add(line, "came_back", story.came_back);
}

static void add_failure(struct log_line *line, const struct dtls *dtls,
                        enum handshake_result result, const char *detail)
{
    log_add(line, "reason", handshake_result_name(result));
    if (detail[0] != '\0')
        log_add(line, "detail", detail);
    log_add(line, "version", dtls_version_name(dtls_version(dtls)));
}

static void add_peer(struct log_line *line, const struct dtls *dtls, enum handshake_result result)
{
    if (dtls->peer == NULL)
        return;
    if (dtls->peer->identity_len > 0)
        log_add_bytes(line, "identity", dtls->peer->identity, dtls->peer->identity_len);
    if (needs_offer(result))
        add_offer(line, &dtls->peer->offer);
    if (dtls->peer->refused != NULL)
        add_certificate(line, dtls->peer->refused);
}

/* A device that has had enough says nothing about its ticket. */
static bool is_about_ticket(const struct session *s, const char *alert)
{
    return dtls_version(s->dtls) == VERSION_1_3 && dtls_is_resumed(s->dtls) &&
           strcmp(alert, "close_notify") != 0 && strcmp(alert, "user_canceled") != 0;
}

void session_log_failed(const struct session *s, enum handshake_result result, const char *detail)
{
    if (!may_log(s->all, LOG_INFO))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_failed");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    add_failure(&line, s->dtls, result, detail);
    if (result == HANDSHAKE_timeout || result == HANDSHAKE_client_alert ||
        result == HANDSHAKE_superseded)
        add_progress(&line, s);
    if (result == HANDSHAKE_client_alert && is_about_ticket(s, detail))
        log_add(&line, "advice", advice_on_tickets);
    add_peer(&line, s->dtls, result);
    log_end(&line);
}

void session_log_refused(struct sessions *all, const struct dtls *dtls, const struct addr *client,
                         enum handshake_result result, const char *detail)
{
    if (!may_log(all, LOG_INFO))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_failed");
    add_who(&line, dtls->listener, 0, client);
    add_failure(&line, dtls, result, detail);
    add_peer(&line, dtls, result);
    log_end(&line);
}

void session_log_ticket_unusable(struct sessions *all, const struct listener *listener,
                                 const struct addr *client, uint8_t alert)
{
    if (!may_log(all, LOG_INFO))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_failed");
    add_who(&line, listener, 0, client);
    log_add(&line, "reason", handshake_result_name(HANDSHAKE_client_alert));
    log_add(&line, "detail", dtls_alert_name(alert));
    log_add(&line, "version", dtls_version_name(VERSION_1_3));
    log_add(&line, "advice", advice_on_tickets);
    log_end(&line);
}

void session_log_stalled(struct session *s, enum handshake_result reason, const char *detail)
{
    if (!may_log(s->all, LOG_INFO))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "handshake_stalled");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add(&line, "reason", handshake_result_name(reason));
    if (detail[0] != '\0')
        log_add(&line, "detail", detail);
    if (s->dtls->peer->identity_len > 0)
        log_add_bytes(&line, "identity", s->dtls->peer->identity, s->dtls->peer->identity_len);
    log_end(&line);
}

void session_log_hello_ignored(struct sessions *all, const struct listener *listener,
                               const struct udp_datagram *hello, enum handshake_result reason,
                               const char *detail)
{
    if (!log_is_enabled(LOG_INFO) || !log_limiter_allows(&all->stranger_limiter, all->now_ms))
        return;
    struct log_line line;
    struct hello_offer offer = {0};
    log_begin(&line, LOG_INFO, "hello_ignored");
    add_who(&line, listener, 0, &hello->from);
    log_add(&line, "reason", handshake_result_name(reason));
    if (detail[0] != '\0')
        log_add(&line, "detail", detail);
    hello_offer_read(&offer, hello->data, hello->len);
    add_offer(&line, &offer);
    log_end(&line);
}

void session_log_stranger_alert(struct sessions *all, const struct listener *listener,
                                const struct addr *client, uint8_t alert, bool has_old_ticket)
{
    if (!log_is_enabled(LOG_INFO) || !log_limiter_allows(&all->stranger_limiter, all->now_ms))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "stranger_alert");
    add_who(&line, listener, 0, client);
    log_add(&line, "detail", dtls_alert_name(alert));
    if (has_old_ticket)
        log_add(&line, "advice",
                "it cannot use the ticket of DTLS 1.3 that it has from before, as wolfSSL before "
                "5.9.1: let it forget that, and set tickets = 1.2");
    log_end(&line);
}

void session_log_limit(struct sessions *all, const struct listener *listener,
                       enum client_outcome limit)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&all->limit_limiter, all->now_ms))
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "limit_reached");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "limit", client_outcome_name(limit));
    log_add(&line, "text", "devices that begin now are dropped without an answer");
    log_end(&line);
}

void session_log_too_large(struct session *s, size_t len)
{
    if (!may_log(s->all, LOG_WARNING))
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "backend_datagram_too_large");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add_u64(&line, "bytes", len);
    log_add_u64(&line, "max_bytes", s->dtls->plaintext_max);
    log_end(&line);
}

void session_log_kept_back(struct session *s)
{
    if (!may_log(s->all, LOG_ERROR))
        return;
    struct log_line line;
    log_begin(&line, LOG_ERROR, "datagram_kept_back");
    add_who(&line, s->listener, s->number, &s->entry.key.client);
    log_add(&line, "text", "the role policy forbids it; please report this");
    log_end(&line);
}

/* What an operator can do about it, or "". */
static const char *send_hint(int error)
{
    switch (error) {
    case EINVAL:
    case ENETDOWN:
    case ENETUNREACH: return "; lo must be up and have 127.0.0.0/8 (ip addr show lo)";
    case EMSGSIZE: return "; lo must have its MTU of 65536 bytes (ip link show lo)";
    case EPERM: return "; a firewall forbids it";
    default: return "";
    }
}

void session_log_send_failed(struct sessions *all, const struct listener *listener, int error)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&all->send_limiter, all->now_ms))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX], words[128];
    log_begin(&line, LOG_WARNING, "backend_send_failed");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "backend", addr_format(&listener->config->backend, text));
    snprintf(words, sizeof(words), "%s%s", strerror(error), send_hint(error));
    log_add(&line, "text", words);
    log_end(&line);
}

void session_log_wrong_sender(struct sessions *all, const struct listener *listener,
                              const struct addr *from)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&all->sender_limiter, all->now_ms))
        return;
    const struct addr *backend = &listener->config->backend;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_WARNING, "wrong_sender");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "from", addr_format(from, text));
    log_add(&line, "backend", addr_format(backend, text));
    log_add(&line, "text",
            from->port == backend->port
                ? "dropped: the server answers from another address than `backend` names, as one "
                  "does that is bound to all addresses (0.0.0.0); bind it to that address, or "
                  "name the one that it answers from"
                : "dropped: only the address and port that `backend` names may send to a session; "
                  "another program does, or the server answers from another socket");
    log_end(&line);
}

void session_log_backend_error(struct sessions *all, const struct listener *listener, int error)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&all->backend_limiter, all->now_ms))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_WARNING, "backend_error");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "backend", addr_format(&listener->config->backend, text));
    log_add(&line, "text", strerror(error));
    log_end(&line);
}
