#include "worker/worker.h"

#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/steering.h"
#include "worker/datapath.h"
#include "worker/hello_share.h"
#include "worker/inquiry.h"
#include "worker/mailbox.h"

enum {
    /* Batches taken from one socket before the others get their turn. */
    ROUNDS_MAX = 8,
    /* Wakes of the backend socket between looks at its error queue. */
    ERRORS_EVERY = 16,
};

/* Between the farewells and the end of the thread. */
static const double LINGER_S = 0.2;

/* One address. What arrives at either socket is answered from the first, which sessions keep. */
struct listening {
    ev_io watcher, hello_watcher;
    struct worker *worker;
    struct udp_socket socket;
    struct udp_socket hello_socket; /* fd = -1: hellos arrive at the other one */
    uint32_t listener;
};

struct worker {
    struct ev_loop *loop;
    ev_io backend_watcher;
    ev_check woken;     /* runs first of all when the loop has waited ... */
    ev_prepare waiting; /* ... and last of all before it waits */
    uint64_t woken_ns;  /* 0 = waiting */
    ev_timer timer;
    ev_timer beat_timer; /* see WORKER_BEAT_MS */
    ev_timer end_timer;
    ev_async asked_watcher, mail_watcher;
    struct mailbox mailbox;        /* the other workers write, this one takes */
    struct inquiries asked;        /* they wait for their turn */
    struct worker *const *workers; /* all of them, by index; borrowed */
    _Atomic int asked_to_end;      /* enum worker_end; 0 = not yet */
    _Atomic bool holds_hellos;     /* until the end */
    ev_timer hello_timer;          /* active while hellos pause */
    struct hello_share hello_share;
    unsigned hello_turn; /* of the event loop, that hello_quota is for */
    uint32_t hello_quota;
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

static uint64_t read_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Runs what is due and sets the loop's one timer to what is due next. After each batch from either
 * side, so that what it has set is known. */
static void keep_time(struct worker *worker, uint64_t now_ms)
{
    uint64_t began_ns = read_clock_ns(CLOCK_MONOTONIC);
    uint64_t due_ms = datapath_tick(&worker->datapath, now_ms);
    durations_add(&worker->datapath.counters.whole->housekeeping,
                  read_clock_ns(CLOCK_MONOTONIC) - began_ns);
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
        keep_time(worker, now_ms);
        if (worker->in.count < UDP_BATCH)
            break;
    }
}

/* ---- hellos --------------------------------------------------------------------------------- */

static void start_hellos(struct worker *worker)
{
    if (atomic_load(&worker->holds_hellos))
        return;
    for (uint32_t i = 0; i < worker->listening_count; i++)
        ev_io_start(worker->loop, &worker->listening[i].hello_watcher);
}

static void on_hello_pause_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    start_hellos(watcher->data);
}

static void stop_hellos(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listening_count; i++)
        ev_io_stop(worker->loop, &worker->listening[i].hello_watcher);
}

static void pause_hellos(struct worker *worker)
{
    stop_hellos(worker);
    ev_timer_set(&worker->hello_timer, (double)hello_share_pause_ms(&worker->hello_share) / 1000.0,
                 0.0);
    ev_now_update(worker->loop);
    ev_timer_start(worker->loop, &worker->hello_timer);
}

/* Of the lowest priority: in each turn of the loop everything else has been read before. */
static void on_hello_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listening *listening = watcher->data;
    struct worker *worker = listening->worker;
    struct counters *c = &worker->datapath.counters.by_listener[listening->listener];
    (void)events;

    /* The same for all sockets, or the first would leave nothing to the others. */
    if (worker->hello_turn != ev_iteration(loop)) {
        worker->hello_turn = ev_iteration(loop);
        worker->hello_quota = hello_share_quota(&worker->hello_share, worker->datapath.data_count,
                                                read_clock_ns(CLOCK_MONOTONIC));
    }
    if (worker->hello_quota == 0) {
        pause_hellos(worker);
        return;
    }
    uint64_t began_ns = read_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t begun = worker->datapath.begun_count;
    if (!udp_receive_some(&listening->hello_socket, &worker->in, worker->hello_quota) ||
        worker->in.count == 0)
        return;
    counter_add(&c->hello_kernel_drops, worker->in.new_kernel_drops);
    worker->in.new_kernel_drops = 0; /* what datapath.c counts is of the other socket */
    uint64_t now_ms = read_clock_ms();
    datapath_from_client(&worker->datapath, listening->listener, &listening->socket, &worker->in,
                         now_ms);
    keep_time(worker, now_ms);
    begun = worker->datapath.begun_count - begun;
    hello_share_spend(&worker->hello_share, worker->in.count, (uint32_t)begun,
                      read_clock_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns);
}

/* ---- from other workers --------------------------------------------------------------------- */

/* In the thread of the worker that `context` is, for the one that has the session. Out of memory,
 * the session lives on until its idle timeout: sessions_per_identity bounds what a device in a loop
 * costs, and is no promise to anybody. */
static void end_elsewhere(void *context, const struct identities_session *session)
{
    const struct worker *self = context;
    struct worker *other = self->workers[session->worker];
    const struct mail mail = {.kind = MAIL_END_SESSION, .session = *session};
    if (mailbox_put(&other->mailbox, &mail))
        ev_async_send(other->loop, &other->mail_watcher);
}

static void take_mail(struct worker *worker, uint64_t now_ms)
{
    uint32_t count;
    struct mail *mail = mailbox_take_all(&worker->mailbox, &count);
    for (uint32_t i = 0; i < count; i++) {
        switch (mail[i].kind) {
        case MAIL_END_SESSION:
            datapath_end_session(&worker->datapath, &mail[i].session, now_ms);
            break;
        case MAIL_INQUIRY: inquiries_add(&worker->asked, mail[i].inquiry); break;
        }
    }
    free(mail);
}

/* One inquiry has its turn, whoever else has asked: in between there is time for datagrams. */
static void on_mail(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = read_clock_ms();
    (void)events;
    take_mail(worker, now_ms);
    struct inquiry *inquiry = inquiries_take(&worker->asked);
    if (inquiry == NULL)
        return;
    inquiry_answer(inquiry, &worker->datapath, now_ms);
    if (worker->asked.first != NULL)
        ev_async_send(loop, watcher);
    keep_time(worker, now_ms);
}

bool worker_ask(struct worker *worker, struct inquiry *inquiry)
{
    const struct mail mail = {.kind = MAIL_INQUIRY, .inquiry = inquiry};
    inquiry_ask(inquiry);
    if (!mailbox_put(&worker->mailbox, &mail))
        return false;
    ev_async_send(worker->loop, &worker->mail_watcher);
    return true;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void on_backend_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = 0;
    (void)loop;
    (void)events;

    for (int i = 0; i < ROUNDS_MAX && backend_receive(&worker->datapath.backend, &worker->in);
         i++) {
        now_ms = read_clock_ms();
        datapath_from_backend(&worker->datapath, &worker->in, now_ms);
        keep_time(worker, now_ms);
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

/* To be woken is all. */
static void on_beat(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void show(struct worker *worker, uint64_t now_ns)
{
    atomic_store_explicit(&worker->datapath.counters.seen_ms, now_ns / 1000000,
                          memory_order_release);
}

static void on_woken(struct ev_loop *loop, ev_check *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->woken_ns = read_clock_ns(CLOCK_MONOTONIC);
    show(worker, worker->woken_ns);
}

static void on_waiting(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    if (worker->woken_ns != 0)
        durations_add(&worker->datapath.counters.whole->loop_turn,
                      read_clock_ns(CLOCK_MONOTONIC) - worker->woken_ns);
}

static void on_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void say_farewell(struct worker *worker)
{
    datapath_stop(&worker->datapath, read_clock_ms());
    /* What is on its way meanwhile is still counted. */
    ev_timer_stop(worker->loop, &worker->timer);
    ev_timer_init(&worker->end_timer, on_end, LINGER_S, 0.0);
    ev_now_update(worker->loop);
    ev_timer_start(worker->loop, &worker->end_timer);
}

static void on_asked(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct worker *worker = watcher->data;
    int end = atomic_load(&worker->asked_to_end);
    (void)events;
    if (atomic_load(&worker->holds_hellos))
        stop_hellos(worker);
    if (end == 0 || worker->datapath.is_stopping)
        return; /* asked twice */
    if (end == WORKER_SAYS_FAREWELL) {
        say_farewell(worker);
    } else {
        datapath_leave(&worker->datapath, read_clock_ms());
        ev_break(loop, EVBREAK_ALL);
    }
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    ev_run(worker->loop, 0);
    return NULL;
}

static bool open_listening(struct worker *worker, struct generation *generation, struct err *err)
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
            bool is_open = worker->index == 0
                               ? udp_open_first_listener(&listening->socket, &listen->addrs[j], err)
                               : udp_open_listener(&listening->socket, &listen->addrs[j], err);
            if (!is_open)
                return false;
            worker->listening_count++;
            listening->worker = worker;
            listening->hello_socket.fd = -1;
            listening->listener = i;
            ev_io_init(&listening->watcher, on_client_readable, listening->socket.fd, EV_READ);
            ev_io_start(worker->loop, &listening->watcher);
        }
    }
    return true;
}

struct worker *worker_open(struct generation *generation, struct state *state,
                           struct identities *identities, const struct worker *first,
                           uint32_t index, uint32_t count, struct err *err)
{
    uint16_t port = first != NULL ? backend_port(&first->datapath.backend) : 0;
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        err_set(err, "out of memory for worker %u", index);
        return NULL;
    }
    worker->index = index;
    worker->count = count;
    worker->timer_due_ms = TIMERS_NONE;
    mailbox_init(&worker->mailbox);
    const struct datapath_shared shared = {.state = state,
                                           .identities = identities,
                                           .end_elsewhere = end_elsewhere,
                                           .context = worker};
    if (!datapath_init(&worker->datapath, generation, &shared, index, count, port, err)) {
        mailbox_deinit(&worker->mailbox);
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
    ev_init(&worker->hello_timer, on_hello_pause_end);
    worker->hello_timer.data = worker;
    hello_share_init(&worker->hello_share, read_clock_ns(CLOCK_MONOTONIC));
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
    ev_async_init(&worker->asked_watcher, on_asked);
    worker->asked_watcher.data = worker;
    ev_async_start(worker->loop, &worker->asked_watcher);
    ev_async_init(&worker->mail_watcher, on_mail);
    worker->mail_watcher.data = worker;
    ev_async_start(worker->loop, &worker->mail_watcher);
    return worker;
}

static bool open_hello_sockets(struct worker *worker, struct err *err)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        struct listening *listening = &worker->listening[i];
        if (!udp_open_listener(&listening->hello_socket, &listening->socket.bound, err))
            return false;
        udp_set_receive_buffer(&listening->hello_socket, UDP_HELLO_BUFFER_BYTES);
        ev_io_init(&listening->hello_watcher, on_hello_readable, listening->hello_socket.fd,
                   EV_READ);
        ev_set_priority(&listening->hello_watcher, EV_MINPRI);
        listening->hello_watcher.data = listening;
    }
    start_hellos(worker);
    return true;
}

bool worker_steer(struct worker *const *workers, uint32_t count, struct err *err)
{
    struct worker *first = workers[0];
    for (uint32_t w = 0; w < count; w++) {
        workers[w]->workers = workers;
        if (!open_hello_sockets(workers[w], err))
            return false;
    }
    for (uint32_t i = 0; i < first->listening_count; i++) {
        const struct listening *listening = &first->listening[i];
        struct generation *generation = first->datapath.generation;
        struct steering steering = {
            .worker_count = count,
            .cid_length = generation->listeners[listening->listener].config->cid_bytes,
            .has_hello_sockets = true,
            .is_v4 = listening->socket.bound.family == AF_INET,
        };
        if (!steering_attach(listening->socket.fd, &steering, err))
            return false;
    }
    if (!backend_steer(&first->datapath.backend, count, err))
        return false;
    /* What has arrived before may be at the wrong worker. */
    for (uint32_t w = 0; w < count; w++) {
        backend_discard(&workers[w]->datapath.backend);
        for (uint32_t i = 0; i < workers[w]->listening_count; i++) {
            udp_discard(&workers[w]->listening[i].socket);
            udp_discard(&workers[w]->listening[i].hello_socket);
        }
    }
    return true;
}

bool worker_start(struct worker *worker, struct err *err)
{
    /* Signals are the main thread's. */
    sigset_t all, before;
    char name[16];
    show(worker, read_clock_ns(CLOCK_MONOTONIC)); /* before the thread can */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return err_set(err, "thread of worker %u: %s", worker->index, strerror(error));
    worker->is_started = true;
    snprintf(name, sizeof(name), "worker-%u", worker->index);
    pthread_setname_np(worker->thread, name);
    return true;
}

void worker_ask_to_stop(struct worker *worker, enum worker_end end)
{
    int none = 0;
    atomic_compare_exchange_strong(&worker->asked_to_end, &none, end);
    ev_async_send(worker->loop, &worker->asked_watcher);
}

void worker_hold_hellos(struct worker *worker)
{
    atomic_store(&worker->holds_hellos, true);
    ev_async_send(worker->loop, &worker->asked_watcher);
}

bool worker_join(struct worker *worker, uint64_t deadline_ms)
{
    static const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    while (worker->is_started && pthread_tryjoin_np(worker->thread, NULL) != 0) {
        if (read_clock_ms() >= deadline_ms)
            return false;
        nanosleep(&pause, NULL);
    }
    worker->is_started = false;
    return true;
}

/* Those who asked have given up before. */
static void forget_inquiries(struct worker *worker)
{
    uint32_t count;
    struct inquiry *inquiry;
    struct mail *mail = mailbox_take_all(&worker->mailbox, &count);
    for (uint32_t i = 0; i < count; i++)
        if (mail[i].kind == MAIL_INQUIRY)
            inquiries_add(&worker->asked, mail[i].inquiry);
    free(mail);
    while ((inquiry = inquiries_take(&worker->asked)) != NULL)
        inquiry_forget(inquiry, &worker->datapath);
}

void worker_close(struct worker *worker)
{
    if (worker == NULL)
        return;
    while (!worker_join(worker, UINT64_MAX))
        ;
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        udp_close(&worker->listening[i].socket);
        udp_close(&worker->listening[i].hello_socket);
    }
    if (worker->loop != NULL)
        ev_loop_destroy(worker->loop);
    forget_inquiries(worker);
    datapath_deinit(&worker->datapath);
    udp_in_deinit(&worker->in);
    mailbox_deinit(&worker->mailbox);
    free(worker->listening);
    free(worker);
}

const struct worker_counters *worker_counters(const struct worker *worker)
{
    return &worker->datapath.counters;
}

struct datapath *worker_datapath(struct worker *worker)
{
    return &worker->datapath;
}
