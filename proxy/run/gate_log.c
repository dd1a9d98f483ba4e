#include "run/gate_log.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/notify.h"
#include "run/keeper.h"
#include "run/keeper_inbox.h"
#include "version.h"

void gate_log_set(const struct gate_config *config)
{
    log_set_level(config->log_level);
    log_set_format(config->log_format);
    if (getenv(KEEPER_VARIABLE) != NULL)
        notify_send(config->log_format == LOG_JSON ? KEEPER_SAY_JSON : KEEPER_SAY_LOGFMT);
}

void gate_log_problems(const struct problems *problems)
{
    for (uint32_t i = 0; i < problems->count; i++)
        log_text(problems->is_warning[i] ? LOG_WARNING : LOG_ERROR, "config", "%s",
                 problems->texts[i]);
}

void gate_log_ready(const struct generation *generation, uint32_t worker_count)
{
    const struct config *config = generation->config;
    char text[ADDR_TEXT_MAX], date[CERTIFICATE_DATE_TEXT_MAX];
    struct log_line line;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        const struct creds *creds = generation->listeners[i].creds;
        for (uint32_t j = 0; j < listener->listen.count; j++) {
            log_begin(&line, LOG_INFO, "listening");
            log_add(&line, "listener", listener->name);
            log_add(&line, "address", addr_format(&listener->listen.addrs[j], text));
            log_add(&line, "backend", addr_format(&listener->backend, text));
            log_add_u64(&line, "psk_identities", creds_psk_count(creds));
            if (creds->certificate_key != KEY_UNKNOWN) {
                log_add(&line, "not_after",
                        certificate_date_text(creds->certificate_not_after, date));
                log_add(&line, "certificate", listener->certificate);
            }
            log_end(&line);
        }
    }
    log_begin(&line, LOG_INFO, "ready");
    log_add(&line, "version", DTLSGATE_VERSION);
    log_add_u64(&line, "workers", worker_count);
    log_add(&line, "metrics",
            config->gate.metrics.family != 0 ? addr_format(&config->gate.metrics, text) : "off");
    log_end(&line);
}

void gate_log_kept(uint64_t count)
{
    struct log_line line;
    log_begin(&line, LOG_INFO, "sessions_kept");
    log_add_u64(&line, "count", count);
    log_end(&line);
}

static const char *fate_text(enum gate_log_fate fate)
{
    switch (fate) {
    case GATE_LOG_NO_FAREWELL: return "its devices get no farewell";
    case GATE_LOG_KEPT: return "the next process has all sessions";
    case GATE_LOG_LOST: break;
    case GATE_LOG_NO_FILE: /* it might use more record numbers than a file would know of */
        return "all sessions are lost: the worker may still change them, so the state_file is not "
               "written";
    }
    return "all sessions are lost";
}

void gate_log_stop_failed(uint32_t worker, enum gate_log_fate fate)
{
    log_text(LOG_ERROR, "stop_failed",
             "worker %u does not end; the program ends without it, and %s", worker,
             fate_text(fate));
}
