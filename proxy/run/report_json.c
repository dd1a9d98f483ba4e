#include "run/report_json.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/printable.h"
#include "creds/creds_suites.h"
#include "run/json_text.h"
#include "run/watchdog.h"
#include "version.h"

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

/* The same of an array. */
static void append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
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

/* What all workers have to do for a listener, or for all listeners. */
struct load {
    uint64_t sessions, handshakes, in_quarantine;
};

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
    }
    return load;
}

static json_t *listener_object(const struct report_gate *gate, const struct listener *listener,
                               const struct load *load)
{
    json_t *object = json_object(), *listen = json_array();
    char text[ADDR_TEXT_MAX];
    for (uint32_t i = 0; i < listener->config->listen.count; i++)
        append(&listen, json_string(addr_format(&listener->config->listen.addrs[i], text)));
    set_text(&object, "listener", listener->config->name);
    set(&object, "listen", listen);
    set_addr(&object, "backend", &listener->config->backend);
    set(&object, "draining",
        json_boolean(atomic_load(&gate->drains->is_draining[listener->number])));
    set_number(&object, "sessions", load->sessions);
    set_number(&object, "handshakes_in_progress", load->handshakes);
    set_number(&object, "max_handshakes", listener->config->max_handshakes);
    set_number(&object, "backend_addresses_in_quarantine", load->in_quarantine);
    set_number(&object, "psk_identities", creds_psk_count(listener->creds));
    return object;
}

/* Which workers do not come back to their event loops. */
static void set_unresponsive(json_t **object, const struct report_gate *gate, uint64_t now)
{
    json_t *workers = json_array();
    for (uint32_t i = 0; i < gate->worker_count; i++)
        if (watchdog_look(&gate->workers[i], 1, now).late != 0)
            append(&workers, json_integer(i));
    set(object, "workers_unresponsive", workers);
}

/* At a time of the clock on the wall, which may have been set since. */
static void set_ago(json_t **object, const char *key, int64_t at_s)
{
    int64_t ago_s = (int64_t)time(NULL) - at_s;
    set_seconds(object, key, ago_s > 0 ? (uint64_t)ago_s * 1000 : 0);
}

static void set_upgrade(json_t **object, const struct upgrade_record *record)
{
    int64_t at_s = atomic_load(&record->at_s);
    set_text(object, "last_upgrade", upgrade_record_result(record));
    if (at_s != 0)
        set_ago(object, "last_upgrade_ago_s", at_s);
    if (record->from[0] != '\0')
        set_text(object, "upgraded_from", record->from);
}

static void set_start(json_t **object, const struct report_start *start)
{
    set_text(object, "state", start->state);
    set_number(object, "starts", start->count);
    set_number(object, "sessions_taken_over", start->sessions.kept);
    set_number(object, "sessions_torn", start->sessions.torn);
    set_number(object, "sessions_cid_length_changed", start->sessions.cid_length_changed);
    set_number(object, "sessions_other_machine", start->sessions.other_machine);
    set_upgrade(object, &start->upgrade);
}

static void set_reloads(json_t **object, const struct swap_record *record)
{
    set_number(object, "reloads", atomic_load(&record->succeeded));
    set_number(object, "reloads_failed", atomic_load(&record->failed));
    set(object, "last_reload_successful", json_boolean(atomic_load(&record->is_good)));
    set_ago(object, "settings_age_s", atomic_load(&record->good_since));
}

static json_t *gate_object(const struct report_gate *gate, const struct load *load)
{
    const struct config *config = gate->generation->config;
    json_t *object = json_object();
    uint64_t now = clock_now_ms();
    set_text(&object, "version", DTLSGATE_VERSION);
    set_number(&object, "pid", (uint64_t)getpid());
    set_text(&object, "config", config->path);
    set_number(&object, "workers", gate->worker_count);
    set_unresponsive(&object, gate, now);
    set_seconds(&object, "uptime_s", now - gate->started_ms);
    set(&object, "ready", json_boolean(gate->is_ready));
    set(&object, "draining", json_boolean(atomic_load(&gate->drains->are_all)));
    set_start(&object, gate->start);
    set_reloads(&object, gate->reloads);
    set_number(&object, "sessions", load->sessions);
    set_number(&object, "max_sessions", config->gate.max_sessions);
    set_number(&object, "handshakes_in_progress", load->handshakes);
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
        append(&listeners, listener_object(gate, listener, &load));
        all.sessions += load.sessions;
        all.handshakes += load.handshakes;
    }
    set(&status, "gate", gate_object(gate, &all));
    set(&status, "listeners", listeners);
    return status;
}
