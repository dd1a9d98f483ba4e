#include "worker/datapath_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wire/classify.h"

enum { LINES_PER_S = 1, DISCARDS_PER_S = 20 };

void datapath_log_init(struct datapath_log *log)
{
    *log = (struct datapath_log){
        .limit = {.per_s = LINES_PER_S},
        .backend = {.per_s = LINES_PER_S},
        .send = {.per_s = LINES_PER_S},
        .sender = {.per_s = LINES_PER_S},
        .discard = {.per_s = DISCARDS_PER_S},
    };
}

void datapath_log_on_time(struct datapath_log *log, uint64_t now_ms)
{
    log->now_ms = now_ms;
    log_limiter_flush(&log->limit, now_ms);
    log_limiter_flush(&log->backend, now_ms);
    log_limiter_flush(&log->send, now_ms);
    log_limiter_flush(&log->sender, now_ms);
    log_limiter_flush(&log->discard, now_ms);
}

uint64_t datapath_log_due_ms(const struct datapath_log *log)
{
    uint64_t held_back = log->limit.held_back + log->backend.held_back + log->send.held_back +
                         log->sender.held_back + log->discard.held_back;
    return held_back != 0 ? log->now_ms + 1000 : UINT64_MAX;
}

void datapath_log_limit(struct datapath_log *log, const struct listener *listener,
                        enum client_outcome limit)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&log->limit, log->now_ms))
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "limit_reached");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "limit", client_outcome_name(limit));
    log_add(&line, "text", "devices that begin now are dropped without an answer");
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

void datapath_log_send_failed(struct datapath_log *log, const struct listener *listener, int error)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&log->send, log->now_ms))
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

void datapath_log_wrong_sender(struct datapath_log *log, const struct listener *listener,
                               const struct addr *from)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&log->sender, log->now_ms))
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

void datapath_log_backend_error(struct datapath_log *log, const struct listener *listener,
                                int error)
{
    if (!log_is_enabled(LOG_WARNING) || !log_limiter_allows(&log->backend, log->now_ms))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_WARNING, "backend_error");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "backend", addr_format(&listener->config->backend, text));
    log_add(&line, "text", strerror(error));
    log_end(&line);
    if (log->is_down[listener->number])
        return;
    log->is_down[listener->number] = true;
    log->down_since_ms[listener->number] = log->now_ms;
    log->down_count++;
}

void datapath_log_backend_answers(struct datapath_log *log, const struct listener *listener)
{
    if (log->down_count == 0 || !log->is_down[listener->number])
        return;
    log->is_down[listener->number] = false;
    log->down_count--;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_WARNING, "backend_answers");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "backend", addr_format(&listener->config->backend, text));
    log_add_ms(&line, "after_s", log->now_ms - log->down_since_ms[listener->number]);
    log_end(&line);
}

/* ---- datagrams that go nowhere --------------------------------------------------------------- */

static bool is_from_client_discarded(enum client_outcome outcome)
{
    switch (outcome) {
    case CLIENT_forwarded:
    case CLIENT_handshake:
    case CLIENT_handshake_begun:
    case CLIENT_established:
    case CLIENT_handshake_failed:
    case CLIENT_session_closed:
    case CLIENT_control:
    case CLIENT_renegotiation_refused:
    case CLIENT_cookie_sent:
    case CLIENT_alert_repeated: return false;
    default: return true;
    }
}

void datapath_log_from_client(struct datapath_log *log, const struct listener *listener,
                              const struct udp_datagram *datagram, enum client_outcome outcome)
{
    if (!is_from_client_discarded(outcome) || !log_limiter_allows(&log->discard, log->now_ms))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_DEBUG, "datagram_discarded");
    log_add(&line, "listener", listener->config->name);
    log_add(&line, "from", "client");
    log_add(&line, "client", addr_format(&datagram->from, text));
    log_add_u64(&line, "bytes", datagram->len);
    log_add(&line, "outcome", client_outcome_name(outcome));
    if (outcome == CLIENT_not_dtls && classify_is_coap(datagram->data, datagram->len)) {
        log_add(&line, "is", "plaintext_coap");
        log_add(&line, "advice", "the device must speak DTLS here: coaps:// instead of coap://");
    }
    log_end(&line);
}

void datapath_log_from_backend(struct datapath_log *log, const struct listener *listener,
                               const struct udp_datagram *datagram, enum backend_outcome outcome,
                               unsigned late)
{
    if (outcome == BACKEND_forwarded || !log_limiter_allows(&log->discard, log->now_ms))
        return;
    struct log_line line;
    char text[ADDR_TEXT_MAX];
    log_begin(&line, LOG_DEBUG, "datagram_discarded");
    if (listener != NULL)
        log_add(&line, "listener", listener->config->name);
    log_add(&line, "from", "backend");
    log_add(&line, "backend", addr_format(&datagram->from, text));
    log_add(&line, "backend_source", addr_format(&datagram->to, text));
    log_add_u64(&line, "bytes", datagram->len);
    log_add(&line, "outcome", backend_outcome_name(outcome));
    if (outcome == BACKEND_late)
        log_add(&line, "reason", late_reason_name(late));
    log_end(&line);
}
