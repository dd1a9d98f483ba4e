#include "run/history_json.h"

#include <stddef.h>

#include "run/json_build.h"

/* Which of the numbers of a step: where it is in the struct of sums. */
#define SERIES(member) (offsetof(struct history_sums, member) / sizeof(uint64_t))
#define LISTENER_SERIES(member) (offsetof(struct history_listener_sums, member) / sizeof(uint64_t))

static json_t *whole_steps(const struct history *history, size_t series)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < history_length(history); i++)
        json_build_append(&steps, json_integer(history->steps[history_place(history, i)][series]));
    return steps;
}

static json_t *listener_steps(const struct history *history,
                              const struct history_listener *listener, size_t series)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < history_length(history); i++)
        json_build_append(&steps, json_integer(listener->steps[history_place(history, i)][series]));
    return steps;
}

/* The main thread may have looked a moment after now_ms. */
static uint64_t ms_since(uint64_t at_ms, uint64_t now_ms)
{
    return now_ms > at_ms ? now_ms - at_ms : 0;
}

/* A family of series: where the first one is, and a name and a sentence for each. */
struct family {
    const char *key;
    size_t series;
    unsigned count;
    const char *const *names, *const *helps;
};

static const char *const client_names[] = {
#define CLIENT_OUTCOME(name, help) #name,
#include "count/counters_each.h"
};
static const char *const client_helps[] = {
#define CLIENT_OUTCOME(name, help) help,
#include "count/counters_each.h"
};
static const char *const backend_names[] = {
#define BACKEND_OUTCOME(name, help) #name,
#include "count/counters_each.h"
};
static const char *const backend_helps[] = {
#define BACKEND_OUTCOME(name, help) help,
#include "count/counters_each.h"
};
/* With LATE_UNKNOWN. */
static const char *const close_names[] = {
#define CLOSE_REASON(code, name, help) [code] = #name,
#include "count/counters_each.h"
    "unknown"};
static const char *const close_helps[] = {
#define CLOSE_REASON(code, name, help) [code] = (help),
#include "count/counters_each.h"
    "no session is remembered at that address"};
static const char *const handshake_names[] = {
#define HANDSHAKE_RESULT(name, help) #name,
#include "count/counters_each.h"
};
static const char *const handshake_helps[] = {
#define HANDSHAKE_RESULT(name, help) help,
#include "count/counters_each.h"
};
static const char *const drop_names[] = {"client", "hello", "backend"};
static const char *const drop_helps[] = {"datagrams of sessions", "ClientHellos",
                                         "datagrams from backends"};

static const struct family families[] = {
    {"client", SERIES(client), CLIENT_OUTCOME_COUNT, client_names, client_helps},
    {"backend", SERIES(backend), BACKEND_OUTCOME_COUNT, backend_names, backend_helps},
    {"late", SERIES(late), LATE_REASON_COUNT, close_names, close_helps},
    {"closed", SERIES(closed), CLOSE_REASON_COUNT, close_names, close_helps},
    {"handshakes", SERIES(handshakes), HANDSHAKE_RESULT_COUNT, handshake_names, handshake_helps},
    {"kernel_drops", SERIES(kernel_drops), HISTORY_DROPS, drop_names, drop_helps},
};

/* An object for each of its series of which anything was ever counted. */
static json_t *family_object(const struct history *history, const struct family *family)
{
    const uint64_t *totals = (const uint64_t *)&history->last + family->series;
    json_t *object = json_object();
    for (unsigned i = 0; i < family->count; i++) {
        if (totals[i] == 0)
            continue;
        json_t *one = json_object();
        json_build_set_text(&one, "help", family->helps[i]);
        json_build_set_number(&one, "total", totals[i]);
        json_build_set(&one, "steps", whole_steps(history, family->series + i));
        json_build_set(&object, family->names[i], one);
    }
    return object;
}

static json_t *listener_object(const struct history *history, const struct listener *listener)
{
    const struct history_listener *of = &history->listeners[listener->number];
    json_t *object = json_object();
    json_build_set_text(&object, "listener", listener->config->name);
#define SET(member) \
    json_build_set(&object, #member, listener_steps(history, of, LISTENER_SERIES(member)))
    SET(from_client);
    SET(from_backend);
    SET(established);
    SET(failed);
    SET(sessions);
#undef SET
    return object;
}

static json_t *listeners(const struct history *history, const struct generation *generation)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct listener *listener = &generation->listeners[i];
        if (history->listeners[listener->number].is_known)
            json_build_append(&array, listener_object(history, listener));
    }
    return array;
}

json_t *history_json(struct history *history, const struct generation *generation, uint64_t now_ms)
{
    json_t *object = json_object();
    history_lock(history);
    json_build_set_seconds(&object, "step_s", HISTORY_STEP_MS);
    json_build_set_number(&object, "steps", history_length(history));
    if (history->step_began_ms != 0)
        json_build_set_seconds(&object, "age_s", ms_since(history->step_began_ms, now_ms));
    json_build_set(&object, "sessions", whole_steps(history, SERIES(sessions)));
    json_build_set(&object, "handshakes_in_progress", whole_steps(history, SERIES(in_progress)));
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        json_build_set(&object, families[i].key, family_object(history, &families[i]));
    json_build_set(&object, "listeners", listeners(history, generation));
    history_unlock(history);
    return object;
}

void history_json_set_backend(json_t **object, struct history *history, uint32_t number,
                              uint64_t now_ms)
{
    static const char *const states[] = {[BACKEND_UNUSED] = "unused",
                                         [BACKEND_ANSWERS] = "answers",
                                         [BACKEND_SILENT] = "silent",
                                         [BACKEND_REFUSES] = "refuses"};
    if (history == NULL)
        return;
    history_lock(history);
    struct history_backend backend = history->listeners[number].backend;
    history_unlock(history);
    json_build_set_text(object, "backend_state", states[backend.state]);
    if (backend.since_ms != 0)
        json_build_set_seconds(object, "backend_state_s", ms_since(backend.since_ms, now_ms));
    if (backend.answered_ms != 0)
        json_build_set_seconds(object, "backend_answered_ago_s",
                               ms_since(backend.answered_ms, now_ms));
    json_build_set_number(object, "backend_unanswered", backend.unanswered);
}
