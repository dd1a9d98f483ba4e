#include "worker/worker_time.h"

uint64_t worker_time_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t worker_time_ms(const struct worker *worker)
{
    return state_now_ms(worker->datapath.backend.state);
}

void worker_time_keep(struct worker *worker, uint64_t now_ms)
{
    uint64_t began_ns = worker_time_ns(CLOCK_MONOTONIC);
    uint64_t due_ms = datapath_tick(&worker->datapath, now_ms);
    durations_add(&worker->datapath.counters.whole->housekeeping,
                  worker_time_ns(CLOCK_MONOTONIC) - began_ns);
    /* What is due moves away with every datagram; the timer then fires once too early, which is
     * cheaper than to set it each time. */
    if (due_ms >= worker->timer_due_ms)
        return;
    worker->timer_due_ms = due_ms;
    ev_timer_stop(worker->loop, &worker->timer);
    double after_s = due_ms > now_ms ? (double)(due_ms - now_ms) / 1000.0 : 0.0;
    ev_timer_set(&worker->timer, after_s, 0.0);
    ev_now_update(worker->loop);
    ev_timer_start(worker->loop, &worker->timer);
}

void worker_time_show(struct worker *worker, uint64_t now_ns)
{
    atomic_store_explicit(&worker->datapath.counters.seen_ms, now_ns / 1000000,
                          memory_order_release);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->timer_due_ms = TIMERS_NONE;
    worker_time_keep(worker, worker_time_ms(worker));
}

/* To be woken is all. */
static void on_beat(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void on_woken(struct ev_loop *loop, ev_check *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->woken_ns = worker_time_ns(CLOCK_MONOTONIC);
    worker_time_show(worker, worker->woken_ns);
}

static void on_waiting(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    if (worker->woken_ns != 0)
        durations_add(&worker->datapath.counters.whole->loop_turn,
                      worker_time_ns(CLOCK_MONOTONIC) - worker->woken_ns);
}

void worker_time_start(struct worker *worker)
{
    worker->timer_due_ms = TIMERS_NONE;
    ev_check_init(&worker->woken, on_woken);
    ev_set_priority(&worker->woken, EV_MAXPRI);
    worker->woken.data = worker;
    ev_check_start(worker->loop, &worker->woken);
    ev_prepare_init(&worker->waiting, on_waiting);
    worker->waiting.data = worker;
    ev_prepare_start(worker->loop, &worker->waiting);
    ev_timer_init(&worker->beat_timer, on_beat, WORKER_BEAT_MS / 1000.0, WORKER_BEAT_MS / 1000.0);
    ev_timer_start(worker->loop, &worker->beat_timer);
    ev_init(&worker->timer, on_timer);
    worker->timer.data = worker;
}
