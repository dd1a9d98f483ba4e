#include "run/report_json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/slots.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "creds/creds_suites.h"
#include "run/history_json.h"
#include "run/json_build.h"
#include "run/watchdog.h"
#include "version.h"

static void set_addr(json_t **object, const char *key, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    json_build_set_text(object, key, addr_format(addr, text));
}

/* Two digits a byte; the text has room for them and a NUL. */
static void set_hex(json_t **object, const char *key, const uint8_t *bytes, size_t len, char *text)
{
    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    if (len != 0)
        json_build_set_text(object, key, text);
}

/* As the log has it: what is no text is told in digits, under another name. */
static void set_identity(json_t **object, const uint8_t *identity, size_t len)
{
    char digits[2 * PSK_IDENTITY_MAX + 1];
    if (len == 0)
        return;
    if (utf8_is_valid(identity, len) && memchr(identity, '\0', len) == NULL)
        json_build_set(object, "identity", json_stringn((const char *)identity, len));
    else
        set_hex(object, "identity_hex", identity, len, digits);
}

/* One that is in the settings no more has its number for a name. */
static void set_listener(json_t **object, const struct generation *generation, uint32_t number)
{
    char text[24];
    const struct listener *listener = generation_listener(generation, number);
    snprintf(text, sizeof(text), "#%u", number);
    json_build_set_text(object, "listener", listener != NULL ? listener->config->name : text);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void set_session(json_t **object, const struct session_report *report)
{
    char digits[2 * RECORD_CID_MAX + 1];
    json_build_set_number(object, "session", report->number);
    set_identity(object, report->identity, report->identity_len);
    json_build_set_text(object, "credential", credential_name(report->credential));
    set_addr(object, "client", &report->client);
    json_build_set(object, "client_proved", json_boolean(report->is_proved));
    set_hex(object, "cid", report->cid, report->cid_len, digits);
    json_build_set_text(object, "version", dtls_version_name(report->version));
    json_build_set_text(object, "suite", creds_suites_name(report->suite));
    json_build_set_seconds(object, "since_s", report->age_ms);
    json_build_set_seconds(object, "last_used_s", report->unused_ms);
    json_build_set_number(object, "from_client", report->from_client);
    json_build_set_number(object, "from_backend", report->from_backend);
}

json_t *report_json_session(const struct session_report *report,
                            const struct generation *generation)
{
    static const char *const states[] = {
        [REPORT_NOBODY] = "nobody", [REPORT_SESSION] = "established", [REPORT_TOMBSTONE] = "ended"};
    json_t *object = json_object();
    json_build_set_text(&object, "state", states[report->kind]);
    set_addr(&object, "backend_source", &report->backend_source);
    if (report->kind != REPORT_NOBODY)
        set_listener(&object, generation, report->listener);
    if (report->kind == REPORT_SESSION)
        set_session(&object, report);
    if (report->kind == REPORT_TOMBSTONE) {
        json_build_set_text(&object, "reason", close_reason_name(report->reason));
        json_build_set_seconds(&object, "silent_s", report->silent_ms);
        json_build_set_seconds(&object, "reserved_s", report->rest_ms);
    }
    return object;
}

json_t *report_json_failure(const struct failure *failure, const struct generation *generation,
                            uint64_t now_ms)
{
    json_t *object = json_object();
    json_build_set_seconds(&object, "ago_s", now_ms - failure->at_ms);
    set_listener(&object, generation, failure->listener);
    set_addr(&object, "client", &failure->client);
    set_identity(&object, failure->identity, failure->identity_len);
    json_build_set_text(&object, "reason", handshake_result_name(failure->result));
    if (failure->detail[0] != '\0')
        json_build_set_text(&object, "detail", failure->detail);
    json_build_set_text(&object, "version", dtls_version_name(failure->version));
    return object;
}

/* ---- status --------------------------------------------------------------------------------- */

/* What all workers have to do for a listener, or for all listeners. */
struct load {
    uint64_t sessions, handshakes, in_quarantine, noisy;
    uint64_t sessions_by[VERSION_COUNT][CREDENTIAL_COUNT][2];
};

static void add_sessions_by(struct load *load, const struct counters *counters)
{
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
            for (unsigned has_cid = 0; has_cid < 2; has_cid++)
                load->sessions_by[v][c][has_cid] +=
                    counter_get(&counters->sessions_by[v][c][has_cid]);
}

/* Gauges stand for themselves, so nobody waits here for the end of a turn: a worker may hang in
 * its own. */
static struct load load_of(const struct report_gate *gate, uint32_t number)
{
    struct load load = {0};
    for (uint32_t i = 0; i < gate->worker_count; i++) {
        const struct counters *counters = &gate->workers[i]->by_listener[number];
        load.sessions += counter_get(&counters->sessions);
        load.handshakes += counter_get(&counters->handshakes_in_progress);
        load.in_quarantine += counter_get(&counters->backend_addresses_in_quarantine);
        load.noisy += counter_get(&counters->backend_addresses_noisy);
        add_sessions_by(&load, counters);
    }
    return load;
}

static void add_load(struct load *all, const struct load *load)
{
    uint64_t *to = (uint64_t *)all;
    const uint64_t *from = (const uint64_t *)load;
    for (size_t i = 0; i < sizeof(*load) / sizeof(uint64_t); i++)
        to[i] += from[i];
}

/* Which kinds of sessions there are; those that there are none of are left out. */
static void set_sessions_by(json_t **object, const struct load *load)
{
    json_t *kinds = json_array();
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        for (unsigned c = 0; c < CREDENTIAL_COUNT; c++)
            for (unsigned has_cid = 0; has_cid < 2; has_cid++) {
                if (load->sessions_by[v][c][has_cid] == 0)
                    continue;
                json_t *kind = json_object();
                json_build_set_text(&kind, "version", dtls_version_name((enum dtls_version)v));
                json_build_set_text(&kind, "credential", credential_name((enum credential)c));
                json_build_set(&kind, "cid", json_boolean(has_cid));
                json_build_set_number(&kind, "sessions", load->sessions_by[v][c][has_cid]);
                json_build_append(&kinds, kind);
            }
    json_build_set(object, "sessions_by", kinds);
}

/* When what stands in files expires, in seconds since 1970. */
static void set_expiries(json_t **object, const struct creds *creds)
{
    if (creds == NULL)
        return;
    if (creds->certificate_key != KEY_UNKNOWN)
        json_build_set_number(object, "certificate_not_after",
                              (uint64_t)creds->certificate_not_after);
    if (creds->anchors.count != 0)
        json_build_set_number(object, "client_ca_not_after",
                              (uint64_t)certificate_anchors_not_after(&creds->anchors));
    int64_t next_update = creds_crl_next_update(creds);
    if (next_update != 0)
        json_build_set_number(object, "crl_next_update", (uint64_t)next_update);
}

static void set_limits(json_t **object, const struct listener_config *config)
{
    json_build_set_number(object, "max_handshakes", config->max_handshakes);
    json_build_set_number(object, "handshakes_per_s", config->handshakes_per_s);
    json_build_set_number(object, "hellos_per_prefix_per_s", config->hellos_per_prefix_per_s);
    json_build_set_number(object, "sessions_per_identity", config->sessions_per_identity);
}

static json_t *listener_object(const struct report_gate *gate, const struct listener *listener,
                               const struct load *load)
{
    json_t *object = json_object(), *listen = json_array();
    char text[ADDR_TEXT_MAX];
    for (uint32_t i = 0; i < listener->config->listen.count; i++)
        json_build_append(&listen,
                          json_string(addr_format(&listener->config->listen.addrs[i], text)));
    json_build_set_text(&object, "listener", listener->config->name);
    json_build_set(&object, "listen", listen);
    set_addr(&object, "backend", &listener->config->backend);
    json_build_set(&object, "draining",
                   json_boolean(atomic_load(&gate->drains->is_draining[listener->number])));
    json_build_set_number(&object, "sessions", load->sessions);
    json_build_set_number(&object, "handshakes_in_progress", load->handshakes);
    set_limits(&object, listener->config);
    json_build_set_number(&object, "backend_addresses_in_quarantine", load->in_quarantine);
    json_build_set_number(&object, "backend_addresses_noisy", load->noisy);
    json_build_set_number(&object, "psk_identities", creds_psk_count(listener->creds));
    set_expiries(&object, listener->creds);
    history_json_set_backend(&object, gate->history, listener->number, clock_now_ms());
    return object;
}

/* Which workers do not come back to their event loops. */
static void set_unresponsive(json_t **object, const struct report_gate *gate, uint64_t now)
{
    json_t *workers = json_array();
    for (uint32_t i = 0; i < gate->worker_count; i++)
        if (watchdog_look(&gate->workers[i], 1, now).late != 0)
            json_build_append(&workers, json_integer(i));
    json_build_set(object, "workers_unresponsive", workers);
}

/* At a time of the clock on the wall, which may have been set since. */
static void set_ago(json_t **object, const char *key, int64_t at_s)
{
    int64_t ago_s = (int64_t)time(NULL) - at_s;
    json_build_set_seconds(object, key, ago_s > 0 ? (uint64_t)ago_s * 1000 : 0);
}

static void set_upgrade(json_t **object, const struct upgrade_record *record)
{
    int64_t at_s = atomic_load(&record->at_s);
    json_build_set_text(object, "last_upgrade", upgrade_record_result(record));
    if (at_s != 0)
        set_ago(object, "last_upgrade_ago_s", at_s);
    if (record->from[0] != '\0')
        json_build_set_text(object, "upgraded_from", record->from);
}

static void set_start(json_t **object, const struct report_start *start)
{
    json_build_set_text(object, "state", start->state);
    json_build_set_number(object, "starts", start->count);
    json_build_set_number(object, "sessions_taken_over", start->sessions.kept);
    json_build_set_number(object, "sessions_torn", start->sessions.torn);
    json_build_set_number(object, "sessions_cid_length_changed",
                          start->sessions.cid_length_changed);
    json_build_set_number(object, "sessions_other_machine", start->sessions.other_machine);
    set_upgrade(object, &start->upgrade);
}

static void set_reloads(json_t **object, const struct swap_record *record)
{
    json_build_set_number(object, "reloads", atomic_load(&record->succeeded));
    json_build_set_number(object, "reloads_failed", atomic_load(&record->failed));
    json_build_set(object, "last_reload_successful", json_boolean(atomic_load(&record->is_good)));
    set_ago(object, "settings_age_s", atomic_load(&record->good_since));
}

static json_t *gate_object(const struct report_gate *gate, const struct load *load)
{
    const struct config *config = gate->generation->config;
    json_t *object = json_object();
    uint64_t now = clock_now_ms();
    json_build_set_text(&object, "version", DTLSGATE_VERSION);
    json_build_set_number(&object, "pid", (uint64_t)getpid());
    json_build_set_text(&object, "config", config->path);
    json_build_set_number(&object, "workers", gate->worker_count);
    set_unresponsive(&object, gate, now);
    json_build_set_seconds(&object, "uptime_s", now - gate->started_ms);
    json_build_set(&object, "ready", json_boolean(gate->is_ready));
    json_build_set(&object, "draining", json_boolean(atomic_load(&gate->drains->are_all)));
    set_start(&object, gate->start);
    set_reloads(&object, gate->reloads);
    json_build_set_number(&object, "sessions", load->sessions);
    json_build_set_number(&object, "max_sessions", config->gate.max_sessions);
    json_build_set_number(&object, "handshakes_in_progress", load->handshakes);
    set_sessions_by(&object, load);
    json_build_set_number(&object, "backend_addresses_in_quarantine", load->in_quarantine);
    json_build_set_number(&object, "backend_addresses_max", slots_pool(config->gate.max_sessions));
    json_build_set_number(&object, "log_lines_dropped", log_dropped_lines());
    json_build_set(&object, "metrics_sessions", json_boolean(config->gate.metrics_sessions));
    return object;
}

json_t *report_json_status(const struct report_gate *gate)
{
    const struct generation *generation = gate->generation;
    json_t *status = json_object(), *listeners = json_array();
    struct load all = {0};
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        struct load load = load_of(gate, listener->number);
        json_build_append(&listeners, listener_object(gate, listener, &load));
        add_load(&all, &load);
    }
    json_build_set(&status, "gate", gate_object(gate, &all));
    json_build_set(&status, "listeners", listeners);
    return status;
}
