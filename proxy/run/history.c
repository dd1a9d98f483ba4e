#include "run/history.h"

#include <stdlib.h>
#include <string.h>

/* An answer is overdue when devices have sent in so many seconds since the server's latest
 * datagram, and for so long: an acknowledgement of what the server sent asks for no answer, a
 * request that gets none is repeated. */
enum { OVERDUE_SECONDS = 3, OVERDUE_MS = 15000 };

struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof(*history));
    if (history != NULL)
        pthread_mutex_init(&history->lock, NULL);
    return history;
}

void history_free(struct history *history)
{
    if (history == NULL)
        return;
    pthread_mutex_destroy(&history->lock);
    free(history);
}

void history_lock(struct history *history)
{
    pthread_mutex_lock(&history->lock);
}

void history_unlock(struct history *history)
{
    pthread_mutex_unlock(&history->lock);
}

uint32_t history_length(const struct history *history)
{
    return history->step_count < HISTORY_STEPS ? history->step_count : HISTORY_STEPS;
}

/* ---- sums ----------------------------------------------------------------------------------- */

static void add_each(uint64_t *sums, const counter *counters, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        sums[i] += counter_get(&counters[i]);
}

static void add_handshakes(struct history_sums *sums, const struct counters *c)
{
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        for (unsigned k = 0; k < CREDENTIAL_COUNT; k++) {
            add_each(sums->handshakes, c->handshakes[v][k], HANDSHAKE_RESULT_COUNT);
            sums->handshakes[HANDSHAKE_established] += counter_get(&c->resumptions[v][k]);
        }
}

static void add_counters(struct history_sums *sums, const struct counters *c)
{
    add_each(sums->client, c->client, CLIENT_OUTCOME_COUNT);
    add_each(sums->backend, c->backend, BACKEND_OUTCOME_COUNT);
    add_each(sums->late, c->late, LATE_REASON_COUNT);
    add_each(sums->closed, c->closed, CLOSE_REASON_COUNT);
    add_handshakes(sums, c);
    sums->kernel_drops[HISTORY_DROPS_CLIENT] += counter_get(&c->client_kernel_drops);
    sums->kernel_drops[HISTORY_DROPS_HELLO] += counter_get(&c->hello_kernel_drops);
    sums->kernel_drops[HISTORY_DROPS_BACKEND] += counter_get(&c->backend_kernel_drops);
    sums->sessions += counter_get(&c->sessions);
    sums->in_progress += counter_get(&c->handshakes_in_progress);
}

/* Of one entry of all workers, and of the processes before. Nobody waits for the end of a turn: a
 * worker may hang in its own. */
static struct history_sums sums_of(const struct history_source *source, uint32_t number,
                                   uint64_t *errors)
{
    struct history_sums sums = {0};
    for (uint32_t w = 0; w <= source->worker_count; w++) {
        const struct worker_counters *worker =
            w < source->worker_count ? source->workers[w] : source->inherited;
        if (worker == NULL)
            continue;
        uint32_t entry = number < worker->listener_count ? number : worker->listener_count;
        add_counters(&sums, &worker->by_listener[entry]);
        *errors += counter_get(&worker->by_listener[entry].backend_icmp_errors);
    }
    return sums;
}

static struct history_listener_sums listener_sums_of(const struct history_sums *sums)
{
    struct history_listener_sums listener = {
        .from_client = sums->client[CLIENT_forwarded],
        .established = sums->handshakes[HANDSHAKE_established],
        .sessions = sums->sessions,
    };
    for (unsigned i = 0; i < BACKEND_OUTCOME_COUNT; i++)
        listener.from_backend += sums->backend[i];
    for (unsigned i = 0; i < HANDSHAKE_RESULT_COUNT; i++)
        listener.failed += i != HANDSHAKE_established ? sums->handshakes[i] : 0;
    return listener;
}

/* A counter that is less than before is that of another listener, or of a batch half counted. */
static uint64_t rise(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

static void note_step(uint32_t *step, const void *now, const void *before, unsigned count,
                      unsigned gauges)
{
    const uint64_t *new = now, *old = before;
    for (unsigned i = 0; i < count; i++) {
        uint64_t value = i < count - gauges ? rise(new[i], old[i]) : new[i];
        step[i] = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
    }
}

/* ---- the server behind a listener ----------------------------------------------------------- */

static void judge(struct history_backend *b, uint64_t now_ms)
{
    bool is_overdue = b->asked_seconds >= OVERDUE_SECONDS && now_ms - b->asked_ms >= OVERDUE_MS;
    b->state = b->error_ms != 0                          ? BACKEND_REFUSES
               : is_overdue                              ? BACKEND_SILENT
               : b->answered_ms != 0 || b->asked_ms != 0 ? BACKEND_ANSWERS
                                                         : BACKEND_UNUSED;
    b->since_ms = b->state == BACKEND_REFUSES  ? b->error_ms
                  : b->state == BACKEND_SILENT ? b->asked_ms
                                               : 0;
}

static void look_at_backend(struct history_backend *b, const struct history_listener_sums *sums,
                            uint64_t errors, uint64_t now_ms)
{
    uint64_t sent = rise(sums->from_client, b->sent);
    if (sums->from_backend > b->received) {
        b->answered_ms = now_ms;
        b->asked_ms = b->error_ms = b->unanswered = b->asked_seconds = 0;
    } else if (sent != 0) {
        b->asked_ms = b->asked_ms != 0 ? b->asked_ms : now_ms;
        b->unanswered += sent;
        b->asked_seconds++;
    }
    if (errors > b->errors && b->error_ms == 0)
        b->error_ms = now_ms;
    b->sent = sums->from_client;
    b->received = sums->from_backend;
    b->errors = errors;
    judge(b, now_ms);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void look_at_listener(struct history *history, uint32_t number,
                             const struct history_sums *sums, uint64_t errors, bool is_step,
                             uint64_t now_ms)
{
    struct history_listener *listener = &history->listeners[number];
    struct history_listener_sums now = listener_sums_of(sums);
    if (!listener->is_known) {
        memset(listener, 0, sizeof(*listener));
        listener->is_known = true;
        listener->backend.sent = now.from_client;
        listener->backend.received = now.from_backend;
        listener->backend.errors = errors;
        listener->last = now;
    }
    look_at_backend(&listener->backend, &now, errors, now_ms);
    if (!is_step)
        return;
    note_step(listener->steps[history->step_count % HISTORY_STEPS], &now, &listener->last,
              HISTORY_LISTENER_SERIES, HISTORY_LISTENER_GAUGES);
    listener->last = now;
}

/* Each number by itself: what one has counted in its life must not come and go with its listener.
 * What it had counted when it is seen first is in the totals only: most of it was in processes
 * before. */
static void add_up(struct history *history, uint32_t number, const struct history_sums *sums)
{
    struct history_seen *seen = &history->seen[number];
    const uint64_t *now = (const uint64_t *)sums, *before = (const uint64_t *)&seen->sums;
    uint64_t *total = (uint64_t *)&history->total, *last = (uint64_t *)&history->last;
    for (unsigned i = 0; i < HISTORY_SERIES; i++) {
        bool is_gauge = i >= HISTORY_SERIES - HISTORY_GAUGES;
        total[i] += is_gauge ? now[i] : rise(now[i], before[i]);
        last[i] += seen->is_any ? 0 : now[i];
    }
    *seen = (struct history_seen){.is_any = true, .sums = *sums};
}

static void look_at_listeners(struct history *history, const struct history_source *source,
                              const struct generation *generation, bool is_step, uint64_t now_ms)
{
    history->total.sessions = history->total.in_progress = 0;
    for (uint32_t number = 0; number < LAYOUT_LISTENERS_MAX; number++) {
        const struct listener *listener = generation_listener(generation, number);
        uint64_t errors = 0;
        if (listener == NULL && history->listeners[number].is_known)
            history->listeners[number].is_known = false;
        if (listener == NULL && !history->seen[number].is_any)
            continue; /* its counters may have no memory */
        struct history_sums sums = sums_of(source, number, &errors);
        if (listener != NULL)
            look_at_listener(history, number, &sums, errors, is_step, now_ms);
        add_up(history, number, &sums);
    }
    uint64_t ignored = 0;
    struct history_sums of_none = sums_of(source, UINT32_MAX, &ignored);
    add_up(history, LAYOUT_LISTENERS_MAX, &of_none);
}

void history_look(struct history *history, const struct history_source *source,
                  const struct generation *generation, uint64_t now_ms)
{
    bool is_first = history->step_began_ms == 0;
    bool is_step = !is_first && now_ms - history->step_began_ms >= HISTORY_STEP_MS;
    history_lock(history);
    look_at_listeners(history, source, generation, is_step, now_ms);
    if (is_step) {
        note_step(history->steps[history->step_count % HISTORY_STEPS], &history->total,
                  &history->last, HISTORY_SERIES, HISTORY_GAUGES);
        history->step_count++;
    }
    if (is_first || is_step) {
        history->last = history->total;
        history->step_began_ms = now_ms;
    }
    history_unlock(history);
}
