#include "run/control_task.h"

#include <stdlib.h>
#include <string.h>

#include "net/steering.h"
#include "run/report_json.h"

static const struct generation *generation_of(const struct control_task *task)
{
    return *task->source->generation;
}

static bool has(const struct control_task *task, uint32_t options)
{
    return (task->request.given & options) != 0;
}

static void finish(struct control_task *task, json_t *more, bool ok, const char *text)
{
    control_output_end(task->output, more, ok, text);
    control_task_drop(task);
}

void control_task_drop(struct control_task *task)
{
    const struct control_source *source = task->source;
    struct inquiry *inquiry = task->inquiry;
    task->inquiry = NULL;
    task->state = TASK_NONE;
    /* Out of memory, it stays with its place in the worker; no harm comes of that. */
    if (!inquiry_give_up(inquiry))
        (void)!source->ask(source->context, task->worker, inquiry);
}

/* ---- what is asked of workers --------------------------------------------------------------- */

static void ask(struct control_task *task)
{
    const struct control_source *source = task->source;
    task->has_answer = false;
    if (task->inquiry->kind == INQUIRY_DRAIN) /* as it is now: another client may have changed it */
        for (uint32_t i = 0; i < LAYOUT_LISTENERS_MAX; i++)
            task->inquiry->is_draining[i] = atomic_load(&source->drains->is_draining[i]);
    if (!source->ask(source->context, task->worker, task->inquiry)) {
        struct inquiry *inquiry = task->inquiry;
        task->inquiry = NULL;
        if (!inquiry->is_more) /* else it stays with its place in the worker, as below */
            free(inquiry);
        finish(task, NULL, false, "out of memory");
    }
}

/* Fills the listener of that name; false: there is none, and the task is over. "" = all, NULL. */
static bool find_listener(struct control_task *task, const struct listener **found)
{
    const struct generation *generation = generation_of(task);
    const char *name = task->request.listener;
    char text[64 + CONFIG_NAME_MAX];
    *found = NULL;
    if (name[0] == '\0')
        return true;
    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        if (strcmp(generation->listeners[i].config->name, name) == 0) {
            *found = &generation->listeners[i];
            return true;
        }
    }
    snprintf(text, sizeof(text), "there is no listener '%s'; status lists them", name);
    finish(task, NULL, false, text);
    return false;
}

static bool set_filter(struct control_task *task, struct session_filter *filter)
{
    const struct command_request *request = &task->request;
    const struct listener *listener;
    if (!find_listener(task, &listener))
        return false;
    *filter = (struct session_filter){
        .identity_len = request->identity_len,
        .client = request->client,
        .has_listener = listener != NULL,
        .listener = listener != NULL ? listener->number : 0,
        .backend_source = request->backend_source,
        .has_number = has(task, COMMAND_TAKES(session)),
        .number = request->session,
    };
    memcpy(filter->identity, request->identity, request->identity_len);
    return true;
}

/* The one worker that has the backend address. */
static void choose_worker_of(struct control_task *task, const struct addr *source)
{
    uint32_t bucket = slots_bucket_of(slots_number_of_addr(source));
    task->worker = steering_worker_of_bucket(bucket, task->source->worker_count);
    task->last_worker = task->worker;
}

static bool set_drain(struct control_task *task)
{
    struct drains *drains = task->source->drains;
    const struct listener *listener;
    if (!find_listener(task, &listener))
        return false;
    drains_set(drains, generation_of(task), listener, task->request.command == COMMAND_drain);
    return true;
}

static void set_trace(const struct control_task *task, struct inquiry *inquiry)
{
    const struct command_request *request = &task->request;
    inquiry->trace.for_ms = request->seconds * 1000;
    if (request->seconds == 0)
        return; /* of nobody */
    inquiry->trace.len = request->identity_len;
    memcpy(inquiry->trace.identity, request->identity, request->identity_len);
}

/* False: the task is over. */
static bool fill(struct control_task *task, struct inquiry *inquiry)
{
    const struct listener *listener;
    switch (inquiry->kind) {
    case INQUIRY_SESSIONS:
    case INQUIRY_CLOSE:
        if (!set_filter(task, &inquiry->filter))
            return false;
        if (inquiry->filter.backend_source.family != 0)
            choose_worker_of(task, &inquiry->filter.backend_source);
        return true;
    case INQUIRY_SOURCE:
        inquiry->source = task->request.backend_source;
        choose_worker_of(task, &inquiry->source);
        return true;
    case INQUIRY_FAILURES: return find_listener(task, &listener);
    case INQUIRY_DRAIN: return set_drain(task);
    case INQUIRY_TRACE: set_trace(task, inquiry); return true;
    }
    return true;
}

static void begin_inquiry(struct control_task *task, enum inquiry_kind kind,
                          void (*wake)(void *context), void *context)
{
    task->inquiry = inquiry_new(kind, wake, context);
    if (task->inquiry == NULL) {
        finish(task, NULL, false, "out of memory");
        return;
    }
    task->state = TASK_ASKS;
    task->last_worker = task->source->worker_count - 1;
    if (fill(task, task->inquiry))
        ask(task);
}

/* ---- what they answer ----------------------------------------------------------------------- */

static void tell_sessions(struct control_task *task, const struct inquiry *inquiry)
{
    for (uint32_t i = 0; i < inquiry->count && task->count < task->request.limit; i++) {
        control_output_add(task->output,
                           report_json_session(&inquiry->reports[i], generation_of(task)));
        task->count++;
    }
}

static bool is_meant(const struct control_task *task, const struct failure *failure)
{
    const struct command_request *request = &task->request;
    const struct listener *listener = generation_listener(generation_of(task), failure->listener);
    if (request->listener[0] != '\0' &&
        (listener == NULL || strcmp(listener->config->name, request->listener) != 0))
        return false;
    return request->identity_len == 0 ||
           (request->identity_len == failure->identity_len &&
            memcmp(request->identity, failure->identity, failure->identity_len) == 0);
}

static void tell_failures(struct control_task *task, const struct inquiry *inquiry)
{
    for (uint32_t i = 0; i < inquiry->count && task->count < task->request.limit; i++) {
        if (!is_meant(task, &inquiry->failures[i]))
            continue;
        control_output_add(task->output, report_json_failure(&inquiry->failures[i],
                                                             generation_of(task), inquiry->now_ms));
        task->count++;
    }
}

static void take_answer(struct control_task *task)
{
    const struct inquiry *inquiry = task->inquiry;
    task->has_answer = true;
    switch (inquiry->kind) {
    case INQUIRY_SESSIONS: tell_sessions(task, inquiry); break;
    case INQUIRY_CLOSE: task->count += inquiry->count; break;
    case INQUIRY_FAILURES: tell_failures(task, inquiry); break;
    case INQUIRY_SOURCE: tell_sessions(task, inquiry); break;
    case INQUIRY_DRAIN:
    case INQUIRY_TRACE: break;
    }
}

static void finish_inquiry(struct control_task *task)
{
    json_t *count = json_pack("{s:I}", "count", (json_int_t)task->count);
    switch (task->inquiry->kind) {
    case INQUIRY_SESSIONS:
    case INQUIRY_FAILURES: finish(task, count, true, ""); return;
    case INQUIRY_CLOSE:
        finish(task, count, task->count != 0, task->count != 0 ? "" : "there is no such session");
        return;
    case INQUIRY_SOURCE:
        json_decref(count);
        bool is_known = task->inquiry->reports[0].kind != REPORT_NOBODY;
        finish(task, NULL, is_known, is_known ? "" : "nobody has that backend address");
        return;
    case INQUIRY_DRAIN:
    case INQUIRY_TRACE: break;
    }
    json_decref(count);
    finish(task, NULL, true, "");
}

bool control_task_is_answered(const struct control_task *task)
{
    return task->state == TASK_ASKS && !task->has_answer && inquiry_is_answered(task->inquiry);
}

bool control_task_go_on(struct control_task *task)
{
    if (task->state != TASK_ASKS)
        return false;
    bool is_new = control_task_is_answered(task);
    if (is_new)
        take_answer(task);
    if (!task->has_answer || control_output_left(task->output) > CONTROL_OUTPUT_ENOUGH)
        return is_new;
    bool has_enough = task->count >= task->request.limit;
    if (has_enough || (!task->inquiry->is_more && task->worker == task->last_worker)) {
        finish_inquiry(task);
        return true;
    }
    task->worker += !task->inquiry->is_more;
    ask(task);
    return true;
}

bool control_task_waits(const struct control_task *task, uint32_t *worker)
{
    *worker = task->worker;
    return task->state == TASK_ASKS && !task->has_answer;
}

/* ---- commands ------------------------------------------------------------------------------- */

static void tell_status(struct control_task *task)
{
    const struct control_source *source = task->source;
    const struct report_gate gate = {
        .start = source->start,
        .reloads = source->reloads,
        .generation = generation_of(task),
        .workers = source->workers,
        .worker_count = source->worker_count,
        .drains = source->drains,
        .history = source->history,
        .started_ms = source->started_ms,
        .is_ready = atomic_load(source->is_ready),
    };
    json_t *status = report_json_status(&gate), *listener;
    size_t i;
    json_array_foreach(json_object_get(status, "listeners"), i, listener)
    {
        control_output_add(task->output, json_incref(listener));
    }
    control_output_add(task->output, json_incref(json_object_get(status, "gate")));
    json_decref(status);
    finish(task, NULL, true, "");
}

/* May end before it returns, if it is answered at once. */
static void act(struct control_task *task, struct control_answer answer)
{
    const struct control_actions *actions = &task->source->actions;
    task->state = TASK_ACTION;
    if (task->request.command == COMMAND_reload && actions->reload != NULL)
        actions->reload(actions->context, answer);
    else if (task->request.command == COMMAND_upgrade && actions->upgrade != NULL)
        actions->upgrade(actions->context, answer);
    else if (task->request.command == COMMAND_stop && actions->stop != NULL)
        actions->stop(actions->context, answer, has(task, COMMAND_TAKES(farewell)));
    else
        finish(task, NULL, false, "this gate cannot do that");
}

void control_task_begin(struct control_task *task, const struct command_request *request,
                        void (*wake)(void *context), void *context, struct control_answer answer)
{
    const struct control_source *source = task->source;
    struct control_output *output = task->output;
    *task = (struct control_task){.request = *request, .source = source, .output = output};
    switch (request->command) {
    case COMMAND_status: tell_status(task); break;
    case COMMAND_sessions: begin_inquiry(task, INQUIRY_SESSIONS, wake, context); break;
    case COMMAND_session: begin_inquiry(task, INQUIRY_SOURCE, wake, context); break;
    case COMMAND_close: begin_inquiry(task, INQUIRY_CLOSE, wake, context); break;
    case COMMAND_drain:
    case COMMAND_undrain: begin_inquiry(task, INQUIRY_DRAIN, wake, context); break;
    case COMMAND_trace: begin_inquiry(task, INQUIRY_TRACE, wake, context); break;
    case COMMAND_failures: begin_inquiry(task, INQUIRY_FAILURES, wake, context); break;
    case COMMAND_log_level:
        log_set_level(request->level);
        finish(task, NULL, true, "");
        break;
    case COMMAND_reload:
    case COMMAND_upgrade:
    case COMMAND_stop: act(task, answer); break;
    case COMMAND_COUNT: finish(task, NULL, false, "no command"); break;
    }
}
