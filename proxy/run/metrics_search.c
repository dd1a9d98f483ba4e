#include "run/metrics_search.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/printable.h"
#include "run/json_build.h"
#include "run/report_json.h"
#include "run/watchdog.h"

bool metrics_search_open(struct metrics_search *search, const struct metrics_source *source)
{
    *search = (struct metrics_search){.source = source};
    search->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return search->answered_fd >= 0;
}

/* It is over, with what it has found so far. */
static void end(struct metrics_search *search)
{
    const struct metrics_source *source = search->source;
    struct inquiry *inquiry = search->inquiry;
    if (search->state != SEARCH_ASKS)
        return;
    search->inquiry = NULL;
    search->state = SEARCH_OVER;
    search->is_complete = false;
    /* Out of memory, it stays with its place in the worker; no harm comes of that. */
    if (!inquiry_give_up(inquiry))
        (void)!source->ask(source->context, search->worker, inquiry);
}

static void forget(struct metrics_search *search)
{
    end(search);
    if (search->generation != NULL)
        generation_give(search->generation);
    json_decref(search->sessions);
    json_decref(search->failures);
    search->generation = NULL;
    search->sessions = search->failures = NULL;
    search->state = SEARCH_NONE;
}

void metrics_search_close(struct metrics_search *search)
{
    forget(search);
    if (search->answered_fd >= 0)
        close(search->answered_fd);
    search->answered_fd = -1;
}

static void wake(void *context)
{
    const struct metrics_search *search = context;
    eventfd_write(search->answered_fd, 1);
}

/* ---- asking --------------------------------------------------------------------------------- */

static bool is_hanging(const struct metrics_search *search)
{
    const struct metrics_source *source = search->source;
    return watchdog_look(&source->workers[search->worker], 1, clock_now_ms()).late != 0;
}

/* The same inquiry once more for the rest of a walk, or a new one. */
static void ask(struct metrics_search *search, enum inquiry_kind kind)
{
    const struct metrics_source *source = search->source;
    if (search->inquiry == NULL) {
        search->inquiry = inquiry_new(kind, wake, search);
        if (search->inquiry == NULL) {
            end(search);
            return;
        }
        search->inquiry->filter.identity_len = kind == INQUIRY_SESSIONS ? search->identity_len : 0;
        if (kind == INQUIRY_SESSIONS)
            memcpy(search->inquiry->filter.identity, search->identity, search->identity_len);
    }
    if (!source->ask(source->context, search->worker, search->inquiry))
        end(search);
}

/* One that hangs is not asked; what it has is missing then. */
static void ask_worker(struct metrics_search *search)
{
    while (search->worker < search->source->worker_count && is_hanging(search)) {
        search->is_complete = false;
        search->worker++;
    }
    if (search->worker == search->source->worker_count)
        search->state = SEARCH_OVER;
    else
        ask(search, INQUIRY_SESSIONS);
}

static void begin(struct metrics_search *search, const uint8_t *identity, size_t len)
{
    forget(search);
    memcpy(search->identity, identity, len);
    search->identity_len = len;
    search->generation = swap_generation(search->source->swap);
    search->sessions = json_array();
    search->failures = json_array();
    search->worker = 0;
    search->is_complete = true;
    search->state = SEARCH_ASKS;
    ask_worker(search);
}

/* ---- what is answered ----------------------------------------------------------------------- */

static void add(struct metrics_search *search, json_t **found, json_t *one)
{
    if (json_array_size(*found) < METRICS_SEARCH_FOUND_MAX) {
        json_build_append(found, one);
        return;
    }
    json_decref(one);
    search->is_complete = false;
}

static void take_sessions(struct metrics_search *search, const struct inquiry *inquiry)
{
    for (uint32_t i = 0; i < inquiry->count; i++)
        add(search, &search->sessions,
            report_json_session(&inquiry->reports[i], search->generation));
}

static void take_failures(struct metrics_search *search, const struct inquiry *inquiry)
{
    for (uint32_t i = 0; i < inquiry->count; i++) {
        const struct failure *failure = &inquiry->failures[i];
        if (failure->identity_len == search->identity_len &&
            memcmp(failure->identity, search->identity, search->identity_len) == 0)
            add(search, &search->failures,
                report_json_failure(failure, search->generation, inquiry->now_ms));
    }
}

static void take_answer(struct metrics_search *search)
{
    struct inquiry *inquiry = search->inquiry;
    if (inquiry->kind == INQUIRY_FAILURES) {
        take_failures(search, inquiry);
        free(inquiry);
        search->inquiry = NULL;
        search->worker++;
        ask_worker(search);
        return;
    }
    take_sessions(search, inquiry);
    if (inquiry->is_more) {
        ask(search, INQUIRY_SESSIONS);
        return;
    }
    free(inquiry);
    search->inquiry = NULL;
    ask(search, INQUIRY_FAILURES);
}

static void wait_for_answers(struct metrics_search *search)
{
    uint64_t deadline_ms = clock_now_ms() + METRICS_SEARCH_WAIT_MS, now;
    while (search->state == SEARCH_ASKS) {
        struct pollfd fd = {.fd = search->answered_fd, .events = POLLIN};
        eventfd_t count;
        if ((now = clock_now_ms()) >= deadline_ms)
            return;
        if (inquiry_is_answered(search->inquiry)) {
            take_answer(search);
            continue;
        }
        poll(&fd, 1, (int)(deadline_ms - now));
        eventfd_read(search->answered_fd, &count);
    }
}

static json_t *tell(const struct metrics_search *search)
{
    bool is_over = search->state == SEARCH_OVER;
    json_t *object = json_object();
    json_build_set(&object, "sessions", json_incref(search->sessions));
    json_build_set(&object, "failures", json_incref(search->failures));
    json_build_set(&object, "over", json_boolean(is_over));
    json_build_set(&object, "complete", json_boolean(is_over && search->is_complete));
    return object;
}

enum metrics_search_result metrics_search_ask(struct metrics_search *search, const char *identity,
                                              json_t **found)
{
    uint8_t bytes[PSK_IDENTITY_MAX];
    size_t len;
    uint64_t now = clock_now_ms();
    if (!printable_parse(identity, bytes, sizeof(bytes), &len) || len == 0)
        return SEARCH_NO_IDENTITY;
    bool is_same = search->state == SEARCH_ASKS && len == search->identity_len &&
                   memcmp(bytes, search->identity, len) == 0;
    if (!is_same && search->state == SEARCH_ASKS && now - search->asked_ms < METRICS_SEARCH_KEPT_MS)
        return SEARCH_BUSY;
    if (!is_same)
        begin(search, bytes, len);
    search->asked_ms = now;
    wait_for_answers(search);
    *found = tell(search);
    if (search->state == SEARCH_OVER)
        forget(search);
    return SEARCH_TOLD;
}

uint64_t metrics_search_forget_old(struct metrics_search *search, uint64_t now_ms)
{
    if (search->state == SEARCH_ASKS && now_ms - search->asked_ms >= METRICS_SEARCH_KEPT_MS)
        forget(search);
    return search->state == SEARCH_ASKS ? search->asked_ms + METRICS_SEARCH_KEPT_MS : UINT64_MAX;
}
