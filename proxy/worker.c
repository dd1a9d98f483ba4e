#include "worker.h"

#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "datapath.h"
#include "steering.h"

enum {
    /* Batches taken from one socket before the others get their turn. */
    ROUNDS_MAX = 8,
    /* Wakes of the backend socket between looks at its error queue. */
    ERRORS_EVERY = 16,
};

/* Between the farewells and the end of the thread. */
static const double LINGER_S = 0.2;

struct listening {
    ev_io watcher;
    struct worker *worker;
    struct udp_socket socket;
    uint32_t listener;
};

struct worker {
    struct ev_loop *loop;
    ev_io backend_watcher;
    ev_timer timer;
    ev_timer end_timer;
    ev_async stop_watcher;
    struct listening *listening; /* one for each address of each listener */
    uint32_t listening_count;
    uint64_t timer_due_ms; /* what `timer` is set to; TIMERS_NONE = not set */
    struct udp_in in;
    struct datapath datapath;
    pthread_t thread;
    bool is_started;
    uint32_t index, count;
    uint32_t backend_wakes;
};

static uint64_t read_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs what is due and sets the loop's one timer to what is due next. */
static void keep_time(struct worker *worker, uint64_t now_ms)
{
    uint64_t due_ms = datapath_tick(&worker->datapath, now_ms);
    if (due_ms == worker->timer_due_ms)
        return;
    worker->timer_due_ms = due_ms;
    ev_timer_stop(worker->loop, &worker->timer);
    if (due_ms == TIMERS_NONE)
        return;
    double after_s = due_ms > now_ms ? (double)(due_ms - now_ms) / 1000.0 : 0.0;
    ev_timer_set(&worker->timer, after_s, 0.0);
    ev_now_update(worker->loop);
    ev_timer_start(worker->loop, &worker->timer);
}

static void on_client_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listening *listening = (struct listening *)watcher;
    struct worker *worker = listening->worker;
    uint64_t now_ms = 0;
    (void)loop;
    (void)events;

    for (int i = 0; i < ROUNDS_MAX && udp_receive(&listening->socket, &worker->in); i++) {
        now_ms = read_clock_ms();
        datapath_from_client(&worker->datapath, listening->listener, &listening->socket,
                             &worker->in, now_ms);
        if (worker->in.count < UDP_BATCH)
            break;
    }
    if (now_ms != 0)
        keep_time(worker, now_ms);
}

static void on_backend_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = 0;
    (void)loop;
    (void)events;

    for (int i = 0; i < ROUNDS_MAX && udp_receive(&worker->datapath.backend.socket, &worker->in);
         i++) {
        now_ms = read_clock_ms();
        datapath_from_backend(&worker->datapath, &worker->in, now_ms);
        if (worker->in.count < UDP_BATCH)
            break;
    }
    /* Nothing to read: an ICMP error has woken us. Under load they would pile up, as they share the
     * socket's receive buffer with the data. */
    if (now_ms == 0 || ++worker->backend_wakes % ERRORS_EVERY == 0) {
        now_ms = read_clock_ms();
        datapath_backend_errors(&worker->datapath, now_ms);
        keep_time(worker, now_ms); /* lines held back may be due */
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->timer_due_ms = TIMERS_NONE;
    keep_time(worker, read_clock_ms());
}

static void on_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void on_stop(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)events;
    if (worker->datapath.is_stopping)
        return; /* asked twice */
    datapath_stop(&worker->datapath, read_clock_ms());
    /* What is on its way meanwhile is still counted. */
    ev_timer_stop(loop, &worker->timer);
    ev_timer_init(&worker->end_timer, on_end, LINGER_S, 0.0);
    ev_now_update(loop);
    ev_timer_start(loop, &worker->end_timer);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    ev_run(worker->loop, 0);
    return NULL;
}

static bool open_listening(struct worker *worker, const struct generation *generation,
                           struct err *err)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < generation->config->listener_count; i++)
        total += generation->listeners[i].config->listen.count;
    worker->listening = calloc(total, sizeof(*worker->listening));
    if (worker->listening == NULL)
        return err_set(err, "out of memory for %u listening sockets", total);

    for (uint32_t i = 0; i < generation->config->listener_count; i++) {
        const struct addr_list *listen = &generation->listeners[i].config->listen;
        for (uint32_t j = 0; j < listen->count; j++) {
            struct listening *listening = &worker->listening[worker->listening_count];
            if (worker->index == 0 && !udp_is_free(&listen->addrs[j], err))
                return false;
            if (!udp_open_listener(&listening->socket, &listen->addrs[j], err))
                return false;
            worker->listening_count++;
            listening->worker = worker;
            listening->listener = i;
            ev_io_init(&listening->watcher, on_client_readable, listening->socket.fd, EV_READ);
            ev_io_start(worker->loop, &listening->watcher);
        }
    }
    return true;
}

struct worker *worker_open(const struct generation *generation, uint32_t index, uint32_t count,
                           struct err *err)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        err_set(err, "out of memory for worker %u", index);
        return NULL;
    }
    worker->index = index;
    worker->count = count;
    worker->timer_due_ms = TIMERS_NONE;
    if (!datapath_init(&worker->datapath, generation, index, count, err)) {
        free(worker);
        return NULL;
    }
    worker->loop = ev_loop_new(EVFLAG_AUTO);
    if (worker->loop == NULL || !udp_in_init(&worker->in)) {
        err_set(err, "worker %u: no memory or no descriptor for its event loop (ulimit -n)", index);
        worker_close(worker);
        return NULL;
    }
    if (!open_listening(worker, generation, err)) {
        worker_close(worker);
        return NULL;
    }
    ev_io_init(&worker->backend_watcher, on_backend_readable, worker->datapath.backend.socket.fd,
               EV_READ);
    worker->backend_watcher.data = worker;
    ev_io_start(worker->loop, &worker->backend_watcher);
    ev_init(&worker->timer, on_timer);
    worker->timer.data = worker;
    ev_async_init(&worker->stop_watcher, on_stop);
    worker->stop_watcher.data = worker;
    ev_async_start(worker->loop, &worker->stop_watcher);
    return worker;
}

bool worker_steer(struct worker *first, struct err *err)
{
    for (uint32_t i = 0; i < first->listening_count; i++) {
        const struct udp_socket *socket = &first->listening[i].socket;
        struct steering steering = {.worker_count = first->count,
                                    .is_v4 = socket->bound.family == AF_INET};
        if (!steering_attach(socket->fd, &steering, err))
            return false;
    }
    return true;
}

bool worker_start(struct worker *worker, struct err *err)
{
    /* Signals are the main thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return err_set(err, "thread of worker %u: %s", worker->index, strerror(error));
    worker->is_started = true;
    return true;
}

void worker_ask_to_stop(struct worker *worker)
{
    ev_async_send(worker->loop, &worker->stop_watcher);
}

void worker_join(struct worker *worker)
{
    if (worker->is_started)
        pthread_join(worker->thread, NULL);
    worker->is_started = false;
}

void worker_close(struct worker *worker)
{
    if (worker == NULL)
        return;
    worker_join(worker);
    for (uint32_t i = 0; i < worker->listening_count; i++)
        udp_close(&worker->listening[i].socket);
    if (worker->loop != NULL)
        ev_loop_destroy(worker->loop);
    datapath_deinit(&worker->datapath);
    udp_in_deinit(&worker->in);
    free(worker->listening);
    free(worker);
}

const struct worker_counters *worker_counters(const struct worker *worker)
{
    return &worker->datapath.counters;
}
