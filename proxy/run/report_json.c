#include "run/report_json.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/printable.h"
#include "creds/creds_suites.h"
#include "run/json_text.h"
#include "version.h"

/* How long it may take to find each worker between two batches. */
enum { LOOK_MS = 20 };

/* Takes the value. */
static void set(json_t **object, const char *key, json_t *value)
{
    if (*object == NULL || json_object_set_new(*object, key, value) != 0) {
        if (*object == NULL)
            json_decref(value);
        json_decref(*object);
        *object = NULL;
    }
}

static void set_text(json_t **object, const char *key, const char *text)
{
    set(object, key, json_text(text));
}

static void set_number(json_t **object, const char *key, uint64_t number)
{
    set(object, key, json_integer((json_int_t)number));
}

/* With three digits, as the log has it. */
static void set_seconds(json_t **object, const char *key, uint64_t ms)
{
    set(object, key, json_real((double)ms / 1000.0));
}

static void set_addr(json_t **object, const char *key, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    set_text(object, key, addr_format(addr, text));
}

static void set_identity(json_t **object, const uint8_t *identity, size_t len)
{
    char text[PRINTABLE_ROOM(PSK_IDENTITY_MAX)];
    if (len != 0)
        set_text(object, "identity", printable_format(identity, len, text));
}

/* One that is in the settings no more has its number for a name. */
static void set_listener(json_t **object, const struct generation *generation, uint32_t number)
{
    char text[24];
    const struct listener *listener = generation_listener(generation, number);
    snprintf(text, sizeof(text), "#%u", number);
    set_text(object, "listener", listener != NULL ? listener->config->name : text);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void set_cid(json_t **object, const struct session_report *report)
{
    char text[2 * RECORD_CID_MAX + 1] = "";
    for (size_t i = 0; i < report->cid_len; i++)
        snprintf(text + 2 * i, 3, "%02x", report->cid[i]);
    if (report->cid_len != 0)
        set_text(object, "cid", text);
}

static void set_session(json_t **object, const struct session_report *report)
{
    set_number(object, "session", report->number);
    set_identity(object, report->identity, report->identity_len);
    set_text(object, "credential", credential_name(report->credential));
    set_addr(object, "client", &report->client);
    set(object, "client_proved", json_boolean(report->is_proved));
    set_cid(object, report);
    set_text(object, "version", dtls_version_name(report->version));
    set_text(object, "suite", creds_suites_name(report->suite));
    set_seconds(object, "since_s", report->age_ms);
    set_seconds(object, "last_used_s", report->unused_ms);
    set_number(object, "from_client", report->from_client);
    set_number(object, "from_backend", report->from_backend);
}

json_t *report_json_session(const struct session_report *report,
                            const struct generation *generation)
{
    static const char *const states[] = {
        [REPORT_NOBODY] = "nobody", [REPORT_SESSION] = "established", [REPORT_TOMBSTONE] = "ended"};
    json_t *object = json_object();
    set_text(&object, "state", states[report->kind]);
    set_addr(&object, "backend_source", &report->backend_source);
    if (report->kind != REPORT_NOBODY)
        set_listener(&object, generation, report->listener);
    if (report->kind == REPORT_SESSION)
        set_session(&object, report);
    if (report->kind == REPORT_TOMBSTONE) {
        set_text(&object, "reason", close_reason_name(report->reason));
        set_seconds(&object, "silent_s", report->silent_ms);
        set_seconds(&object, "reserved_s", report->rest_ms);
    }
    return object;
}

json_t *report_json_failure(const struct failure *failure, const struct generation *generation,
                            uint64_t now_ms)
{
    json_t *object = json_object();
    set_seconds(&object, "ago_s", now_ms - failure->at_ms);
    set_listener(&object, generation, failure->listener);
    set_addr(&object, "client", &failure->client);
    set_identity(&object, failure->identity, failure->identity_len);
    set_text(&object, "reason", handshake_result_name(failure->result));
    if (failure->detail[0] != '\0')
        set_text(&object, "detail", failure->detail);
    set_text(&object, "version", dtls_version_name(failure->version));
    return object;
}

/* ---- status --------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void add_counters(struct counters *sum, const struct report_gate *gate, uint32_t number)
{
    uint64_t deadline_ms = now_ms() + LOOK_MS;
    for (uint32_t i = 0; i < gate->worker_count; i++)
        (void)counters_add_copy(sum, gate->workers[i], number, deadline_ms);
}

json_t *report_json_listener(const struct report_gate *gate, const struct listener *listener)
{
    struct counters sum = {0};
    json_t *object = json_object(), *listen = json_array();
    char text[ADDR_TEXT_MAX];
    add_counters(&sum, gate, listener->number);
    for (uint32_t i = 0; i < listener->config->listen.count; i++)
        json_array_append_new(listen,
                              json_string(addr_format(&listener->config->listen.addrs[i], text)));
    set_text(&object, "listener", listener->config->name);
    set(&object, "listen", listen);
    set_addr(&object, "backend", &listener->config->backend);
    set(&object, "draining",
        json_boolean(atomic_load(&gate->drains->is_draining[listener->number])));
    set_number(&object, "sessions", counter_get(&sum.sessions));
    set_number(&object, "handshakes_in_progress", counter_get(&sum.handshakes_in_progress));
    set_number(&object, "max_handshakes", listener->config->max_handshakes);
    set_number(&object, "backend_addresses_in_quarantine",
               counter_get(&sum.backend_addresses_in_quarantine));
    set_number(&object, "psk_identities", creds_psk_count(listener->creds));
    return object;
}

static void set_start(json_t **object, const struct report_start *start)
{
    set_text(object, "state", start->state);
    set_number(object, "starts", start->count);
    set_number(object, "sessions_taken_over", start->sessions.kept);
    set_number(object, "sessions_torn", start->sessions.torn);
}

static void set_reloads(json_t **object, const struct swap_record *record)
{
    int64_t age_s = (int64_t)time(NULL) - atomic_load(&record->good_since);
    set_number(object, "reloads", atomic_load(&record->succeeded));
    set_number(object, "reloads_failed", atomic_load(&record->failed));
    set(object, "last_reload_successful", json_boolean(atomic_load(&record->is_good)));
    set_seconds(object, "settings_age_s", age_s > 0 ? (uint64_t)age_s * 1000 : 0);
}

json_t *report_json_gate(const struct report_gate *gate)
{
    const struct config *config = gate->generation->config;
    json_t *object = json_object();
    uint64_t sessions = 0, handshakes = 0;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct counters sum = {0};
        add_counters(&sum, gate, gate->generation->listeners[i].number);
        sessions += counter_get(&sum.sessions);
        handshakes += counter_get(&sum.handshakes_in_progress);
    }
    set_text(&object, "version", DTLSGATE_VERSION);
    set_number(&object, "pid", (uint64_t)getpid());
    set_text(&object, "config", config->path);
    set_number(&object, "workers", gate->worker_count);
    set_seconds(&object, "uptime_s", gate->uptime_ms);
    set(&object, "ready", json_boolean(gate->is_ready));
    set(&object, "draining", json_boolean(atomic_load(&gate->drains->are_all)));
    set_start(&object, gate->start);
    set_reloads(&object, gate->reloads);
    set_number(&object, "sessions", sessions);
    set_number(&object, "max_sessions", config->gate.max_sessions);
    set_number(&object, "handshakes_in_progress", handshakes);
    return object;
}
