#include "run/metrics_lookup.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/addr_prefix.h"
#include "base/clock.h"
#include "net/steering.h"
#include "run/history_json.h"
#include "run/report_json.h"
#include "run/watchdog.h"

enum { WAIT_MS = 1000 };

bool metrics_lookup_open(struct metrics_lookup *lookup, const struct metrics_source *source)
{
    lookup->source = source;
    lookup->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return lookup->answered_fd >= 0;
}

void metrics_lookup_close(struct metrics_lookup *lookup)
{
    if (lookup->answered_fd >= 0)
        close(lookup->answered_fd);
    lookup->answered_fd = -1;
}

static struct metrics_lookup_answer fixed_answer(unsigned status, const char *text)
{
    return (struct metrics_lookup_answer){.status = status, .fixed = text};
}

/* Takes the object. layout: JSON_INDENT(1), for people who look at it, or JSON_COMPACT. */
static struct metrics_lookup_answer json_answer(unsigned status, json_t *object, size_t layout)
{
    char *text = object != NULL
                     ? json_dumps(object, JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15) | layout)
                     : NULL;
    json_decref(object);
    if (text == NULL)
        return fixed_answer(503, "out of memory\n");
    return (struct metrics_lookup_answer){.status = status, .is_json = true, .text = text};
}

struct metrics_lookup_answer metrics_lookup_status(const struct metrics_lookup *lookup)
{
    const struct metrics_source *source = lookup->source;
    struct generation *generation = swap_generation(source->swap);
    const struct report_gate gate = {
        .start = source->start,
        .reloads = &source->swap->record,
        .generation = generation,
        .workers = source->workers,
        .worker_count = source->worker_count,
        .drains = source->drains,
        .history = source->history,
        .started_ms = source->started_ms,
        .is_ready = atomic_load(source->is_ready),
    };
    struct metrics_lookup_answer answer =
        json_answer(200, report_json_status(&gate), JSON_INDENT(1));
    generation_give(generation);
    return answer;
}

struct metrics_lookup_answer metrics_lookup_history(const struct metrics_lookup *lookup)
{
    const struct metrics_source *source = lookup->source;
    if (source->history == NULL)
        return fixed_answer(404, "nothing is kept here of the last hour\n");
    struct generation *generation = swap_generation(source->swap);
    struct metrics_lookup_answer answer =
        json_answer(200, history_json(source->history, generation, clock_now_ms()), JSON_COMPACT);
    generation_give(generation);
    return answer;
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void wake(void *context)
{
    const struct metrics_lookup *lookup = context;
    eventfd_write(lookup->answered_fd, 1);
}

/* An inquiry that was given up may still wake this one: so it looks again. */
static bool wait_for(const struct metrics_lookup *lookup, const struct inquiry *inquiry)
{
    uint64_t deadline_ms = clock_now_ms() + WAIT_MS, now;
    while (!inquiry_is_answered(inquiry)) {
        struct pollfd fd = {.fd = lookup->answered_fd, .events = POLLIN};
        eventfd_t count;
        if ((now = clock_now_ms()) >= deadline_ms)
            return false;
        poll(&fd, 1, (int)(deadline_ms - now));
        eventfd_read(lookup->answered_fd, &count);
    }
    return true;
}

/* False: no answer in time, or no memory. One that is known to hang is not asked: whoever comes
 * next would wait for it, too, and so might who wants to know whether the gate is healthy. */
static bool ask(const struct metrics_lookup *lookup, const struct addr *backend_source,
                struct session_report *report)
{
    const struct metrics_source *source = lookup->source;
    uint32_t bucket = slots_bucket_of(slots_number_of_addr(backend_source));
    uint32_t worker = steering_worker_of_bucket(bucket, source->worker_count);
    if (watchdog_look(&source->workers[worker], 1, clock_now_ms()).late != 0)
        return false;
    struct inquiry *inquiry = inquiry_new(INQUIRY_SOURCE, wake, (void *)(uintptr_t)lookup);
    if (inquiry == NULL)
        return false;
    inquiry->source = *backend_source;
    if (!source->ask(source->context, worker, inquiry)) {
        free(inquiry);
        return false;
    }
    bool is_answered = wait_for(lookup, inquiry);
    if (is_answered)
        *report = inquiry->reports[0];
    (void)!inquiry_give_up(inquiry); /* it is no walk, and has no place in the worker */
    return is_answered;
}

/* If the session ends now, nobody else gets its address before the tombstone time is over. */
static void set_cache(struct metrics_lookup_answer *answer, const struct session_report *report,
                      const struct generation *generation)
{
    if (report->kind == REPORT_SESSION) {
        answer->max_age_s = generation->config->gate.tombstone_ms / 1000;
        snprintf(answer->etag, sizeof(answer->etag), "W/\"session-%llu-%llx\"",
                 (unsigned long long)report->number, (unsigned long long)report->began_ms);
    } else if (report->kind == REPORT_TOMBSTONE) {
        answer->max_age_s = report->rest_ms / 1000;
        snprintf(answer->etag, sizeof(answer->etag), "W/\"ended-%x-%llx-%s\"", report->slot,
                 (unsigned long long)report->began_ms, close_reason_name(report->reason));
    }
}

struct metrics_lookup_answer metrics_lookup_untold(void)
{
    return fixed_answer(404, "who has a session is not told here: metrics_sessions is off\n");
}

bool metrics_lookup_tells_sessions(const struct metrics_lookup *lookup)
{
    struct generation *generation = swap_generation(lookup->source->swap);
    bool tells = generation->config->gate.metrics_sessions;
    generation_give(generation);
    return tells;
}

struct metrics_lookup_answer metrics_lookup_found(json_t *found)
{
    return json_answer(200, found, JSON_INDENT(1));
}

static struct metrics_lookup_answer look_up(const struct metrics_lookup *lookup,
                                            const char *address,
                                            const struct generation *generation)
{
    struct addr_prefix prefix;
    struct session_report report;
    struct err err = {0};
    if (!generation->config->gate.metrics_sessions)
        return metrics_lookup_untold();
    if (!addr_prefix_parse(&prefix, address, &err) || prefix.bits != 32 ||
        slots_number_of_addr(&prefix.addr) == SLOTS_NONE)
        return fixed_answer(400, "no backend address; write /sessions/127.1.2.3\n");
    if (!ask(lookup, &prefix.addr, &report))
        return fixed_answer(503, "the worker of that address does not answer\n");
    struct metrics_lookup_answer answer =
        json_answer(report.kind == REPORT_NOBODY ? 404 : 200,
                    report_json_session(&report, generation), JSON_INDENT(1));
    if (answer.is_json)
        set_cache(&answer, &report, generation);
    return answer;
}

struct metrics_lookup_answer metrics_lookup_session(const struct metrics_lookup *lookup,
                                                    const char *address)
{
    struct generation *generation = swap_generation(lookup->source->swap);
    struct metrics_lookup_answer answer = look_up(lookup, address, generation);
    generation_give(generation);
    return answer;
}
