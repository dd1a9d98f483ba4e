#include "session/session_log.h"

#include <stdio.h>

#include "creds/creds_suites.h"

static bool may_log(struct sessions *all, enum log_level level)
{
    return log_is_enabled(level) && log_limiter_allows(&all->limiter, all->now_ms);
}

/* Begin and end of a session; without a credential a stranger can cause these lines. */
static bool may_log_life(struct sessions *all, const struct session *s)
{
    return session_is_anonymous(s) ? may_log(all, LOG_INFO) : log_is_enabled(LOG_INFO);
}

static void add_cid(struct log_line *line, const struct association *association)
{
    char text[2 * RECORD_CID_MAX + 1];
    const uint8_t *cid = association_cid(association);
    for (size_t i = 0; i < association->cid_len; i++)
        snprintf(text + 2 * i, 3, "%02x", cid[i]);
    if (association->cid_len != 0)
        log_add(line, "cid", text);
}

static void add_session(struct log_line *line, const struct sessions *all, const struct session *s)
{
    char text[ADDR_TEXT_MAX];
    log_add(line, "listener", session_listener(all, s)->config->name);
    log_add_u64(line, "session", s->number);
    log_add(line, "client", addr_format(&s->client, text));
}

void session_log_established(struct sessions *all, const struct session *s,
                             const struct handshake *handshake)
{
    if (!may_log_life(all, s))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    const struct handshake_who *who = &handshake->who;
    struct addr source = backend_slot_addr(all->backend, s->slot);
    log_begin(&line, LOG_INFO, "session_established");
    add_session(&line, all, s);
    log_add(&line, "version", dtls_version_name(who->version));
    log_add(&line, "suite", creds_suites_name((uint16_t)s->suite));
    log_add(&line, "credential", credential_name(who->credential));
    if (who->credential != CREDENTIAL_NONE)
        log_add_bytes(&line, "identity", who->identity, who->identity_len);
    log_add(&line, "resumed", who->is_resumed ? "yes" : "no");
    log_add(&line, "backend_source", addr_format(&source, text));
    add_cid(&line, &s->association);
    log_add_ms(&line, "handshake_s", all->now_ms - handshake->begun_ms);
    log_end(&line);
}

void session_log_moved(struct sessions *all, const struct session *s, const struct addr *to)
{
    if (!may_log(all, LOG_DEBUG))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_DEBUG, "client_moved");
    add_session(&line, all, s);
    log_add(&line, "to", addr_format(to, text));
    log_end(&line);
}

void session_log_full(struct sessions *all, const struct listener *listener)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&all->full_limiter, all->now_ms))
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "limit_reached");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "limit", "max_sessions");
    log_add(&line, "text", "for each device that begins now the least recently used session ends");
    log_end(&line);
}

void session_log_closed(struct sessions *all, const struct session *s, enum close_reason reason)
{
    if (!may_log_life(all, s))
        return;
    struct log_line line;
    log_begin(&line, LOG_INFO, "session_closed");
    add_session(&line, all, s);
    log_add(&line, "reason", close_reason_name(reason));
    log_add_ms(&line, "duration_s", all->now_ms - s->established_ms);
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
    log_add(&line, "text", "sessions whose devices were not told");
    log_end(&line);
}

void session_log_too_large(struct sessions *all, const struct session *s, size_t len)
{
    if (!may_log(all, LOG_WARNING))
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "backend_datagram_too_large");
    add_session(&line, all, s);
    log_add_u64(&line, "bytes", len);
    log_add_u64(&line, "max_bytes", association_plaintext_max(&s->association));
    log_end(&line);
}

void session_log_kept_back(struct sessions *all, const struct session *s)
{
    if (!may_log(all, LOG_ERROR))
        return;
    struct log_line line;
    log_begin(&line, LOG_ERROR, "datagram_kept_back");
    add_session(&line, all, s);
    log_add(&line, "text", "the role policy forbids it; please report this");
    log_end(&line);
}
