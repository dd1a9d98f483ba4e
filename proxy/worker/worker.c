#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "worker/listening.h"
#include "worker/worker_inside.h"
#include "worker/worker_swap.h"
#include "worker/worker_time.h"

enum {
    /* Batches taken from the backend socket before others get their turn. */
    ROUNDS_MAX = 8,
    /* Wakes of the backend socket between looks at its error queue. */
    ERRORS_EVERY = 16,
};

/* Between the farewells and the end of the thread. */
static const double LINGER_S = 0.2;

/* ---- from other threads --------------------------------------------------------------------- */

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
        case MAIL_SWAP: worker_swap_begin(worker, mail[i].swap, now_ms); break;
        }
    }
    free(mail);
}

/* One inquiry has its turn, whoever else has asked: in between there is time for datagrams. */
static void on_mail(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = worker_time_ms(worker);
    (void)events;
    take_mail(worker, now_ms);
    struct inquiry *inquiry = inquiries_take(&worker->asked);
    if (inquiry == NULL)
        return;
    inquiry_answer(inquiry, &worker->datapath, now_ms);
    if (worker->asked.first != NULL)
        ev_async_send(loop, watcher);
    worker_time_keep(worker, now_ms);
}

static bool put_mail(struct worker *worker, const struct mail *mail)
{
    if (!mailbox_put(&worker->mailbox, mail))
        return false;
    ev_async_send(worker->loop, &worker->mail_watcher);
    return true;
}

bool worker_ask(struct worker *worker, struct inquiry *inquiry)
{
    inquiry_ask(inquiry);
    return put_mail(worker, &(struct mail){.kind = MAIL_INQUIRY, .inquiry = inquiry});
}

bool worker_ask_to_swap(struct worker *worker, struct worker_swap *swap)
{
    return put_mail(worker, &(struct mail){.kind = MAIL_SWAP, .swap = swap});
}

/* ---- from the backends ---------------------------------------------------------------------- */

static void on_backend_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = 0;
    (void)loop;
    (void)events;

    for (int i = 0; i < ROUNDS_MAX && backend_receive(&worker->datapath.backend, &worker->in);
         i++) {
        now_ms = worker_time_ms(worker);
        datapath_from_backend(&worker->datapath, &worker->in, now_ms);
        worker_time_keep(worker, now_ms);
        if (worker->in.count < UDP_BATCH)
            break;
    }
    /* Nothing to read: an ICMP error has woken us. Under load they would pile up, as they share the
     * socket's receive buffer with the data. */
    if (now_ms == 0 || ++worker->backend_wakes % ERRORS_EVERY == 0) {
        now_ms = worker_time_ms(worker);
        datapath_backend_errors(&worker->datapath, now_ms);
        worker_time_keep(worker, now_ms); /* lines held back may be due */
    }
}

void worker_give(struct worker *worker, const struct addr *bound, const struct udp_in *batch)
{
    if (bound != NULL)
        listening_give(worker, bound, batch);
    else
        datapath_from_backend(&worker->datapath, batch, worker_time_ms(worker));
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static void on_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void say_farewell(struct worker *worker)
{
    datapath_stop(&worker->datapath, worker_time_ms(worker));
    /* What is on its way meanwhile is still counted. */
    ev_timer_stop(worker->loop, &worker->timer);
    ev_timer_stop(worker->loop, &worker->swap_timer);
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
        listening_stop_hellos(worker);
    if (end == 0 || worker->datapath.is_stopping)
        return; /* asked twice */
    if (end == WORKER_SAYS_FAREWELL)
        say_farewell(worker);
    else
        ev_break(loop, EVBREAK_ALL); /* after what this turn has found */
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", worker->index);
    prctl(PR_SET_NAME, name);
    if (worker->confine != NULL)
        worker->confine();
    ev_run(worker->loop, 0);
    if (atomic_load(&worker->asked_to_end) == WORKER_LEAVES_SESSIONS)
        datapath_leave(&worker->datapath, worker_time_ms(worker));
    return NULL;
}

static void start_watchers(struct worker *worker)
{
    ev_io_init(&worker->backend_watcher, on_backend_readable, worker->datapath.backend.socket.fd,
               EV_READ);
    worker->backend_watcher.data = worker;
    ev_io_start(worker->loop, &worker->backend_watcher);
    listening_init(worker);
    worker_time_start(worker);
    worker_swap_init(worker);
    ev_async_init(&worker->asked_watcher, on_asked);
    worker->asked_watcher.data = worker;
    ev_async_start(worker->loop, &worker->asked_watcher);
    ev_async_init(&worker->mail_watcher, on_mail);
    worker->mail_watcher.data = worker;
    ev_async_start(worker->loop, &worker->mail_watcher);
}

struct worker *worker_open(const struct worker_settings *settings, struct err *err)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        err_set(err, "out of memory for worker %u", settings->index);
        return NULL;
    }
    worker->index = settings->index;
    worker->count = settings->count;
    worker->workers = settings->workers;
    mailbox_init(&worker->mailbox);
    const struct datapath_shared shared = {.state = settings->state,
                                           .identities = settings->identities,
                                           .end_elsewhere = end_elsewhere,
                                           .context = worker};
    if (!datapath_init(&worker->datapath, settings->generation, &shared, settings->index,
                       settings->count, settings->backend, err)) {
        mailbox_deinit(&worker->mailbox);
        free(worker);
        return NULL;
    }
    worker->listening = calloc(LISTENING_MAX, sizeof(*worker->listening));
    worker->loop = ev_loop_new(EVFLAG_AUTO);
    if (worker->loop == NULL || worker->listening == NULL || !udp_in_init(&worker->in)) {
        err_set(err, "worker %u: no memory or no descriptor for its event loop (ulimit -n)",
                settings->index);
        worker_close(worker);
        return NULL;
    }
    start_watchers(worker);
    listening_set(worker, settings->sockets, settings->socket_count);
    return worker;
}

bool worker_start(struct worker *worker, void (*confine)(void), struct err *err)
{
    worker->confine = confine;
    /* Signals are the main thread's. */
    sigset_t all, before;
    worker_time_show(worker, worker_time_ns(CLOCK_MONOTONIC)); /* before the thread can */
    worker_swap_look(worker);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return err_set(err, "thread of worker %u: %s", worker->index, strerror(error));
    worker->is_started = true;
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
        if (worker_time_ns(CLOCK_MONOTONIC) / 1000000 >= deadline_ms)
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
