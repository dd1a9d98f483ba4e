#include "worker/listening.h"

#include "worker/worker_time.h"

enum {
    /* Batches taken from one socket before the others get their turn. */
    ROUNDS_MAX = 8,
    /* More than a socket's buffer holds: where datagrams keep coming there is always a next one. */
    LEAVING_ROUNDS_MAX = 1024,
};

static void on_client_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listening *listening = (struct listening *)watcher;
    struct worker *worker = listening->worker;
    uint64_t now_ms = 0;
    (void)loop;
    (void)events;

    for (int i = 0; i < ROUNDS_MAX && udp_receive(&listening->socket, &worker->in); i++) {
        now_ms = worker_time_ms(worker);
        datapath_from_client(&worker->datapath, listening->listener, &listening->socket,
                             &worker->in, now_ms);
        worker_time_keep(worker, now_ms);
        if (worker->in.count < UDP_BATCH)
            break;
    }
}

/* ---- hellos --------------------------------------------------------------------------------- */

static void start_hellos(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        struct listening *listening = &worker->listening[i];
        if (listening->hello_socket.fd >= 0 && !listening->is_leaving)
            ev_io_start(worker->loop, &listening->hello_watcher);
    }
}

void listening_stop_hellos(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listening_count; i++)
        if (worker->listening[i].hello_socket.fd >= 0)
            ev_io_stop(worker->loop, &worker->listening[i].hello_watcher);
}

static bool hellos_wait(const struct worker *worker)
{
    return atomic_load(&worker->holds_hellos) || ev_is_active(&worker->hello_timer);
}

static void on_hello_pause_end(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    if (!hellos_wait(worker))
        start_hellos(worker);
}

static void pause_hellos(struct worker *worker)
{
    listening_stop_hellos(worker);
    ev_timer_set(&worker->hello_timer, (double)hello_share_pause_ms(&worker->hello_share) / 1000.0,
                 0.0);
    ev_now_update(worker->loop);
    ev_timer_start(worker->loop, &worker->hello_timer);
}

static void take_hellos(struct listening *listening, uint64_t now_ms)
{
    struct worker *worker = listening->worker;
    struct counters *c = &worker->datapath.counters.by_listener[listening->listener];
    counter_add(&c->hello_kernel_drops, worker->in.new_kernel_drops);
    worker->in.new_kernel_drops = 0; /* what datapath.c counts is of the other socket */
    datapath_from_client(&worker->datapath, listening->listener, &listening->socket, &worker->in,
                         now_ms);
}

/* Of the lowest priority: in each turn of the loop everything else has been read before. */
static void on_hello_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listening *listening = watcher->data;
    struct worker *worker = listening->worker;
    (void)events;

    /* The same for all sockets, or the first would leave nothing to the others. */
    if (worker->hello_turn != ev_iteration(loop)) {
        worker->hello_turn = ev_iteration(loop);
        worker->hello_quota = hello_share_quota(&worker->hello_share, worker->datapath.data_count,
                                                worker_time_ns(CLOCK_MONOTONIC));
    }
    if (worker->hello_quota == 0) {
        pause_hellos(worker);
        return;
    }
    uint64_t began_ns = worker_time_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t begun = worker->datapath.begun_count;
    if (!udp_receive_some(&listening->hello_socket, &worker->in, worker->hello_quota) ||
        worker->in.count == 0)
        return;
    uint64_t now_ms = worker_time_ms(worker);
    take_hellos(listening, now_ms);
    worker_time_keep(worker, now_ms);
    begun = worker->datapath.begun_count - begun;
    hello_share_spend(&worker->hello_share, worker->in.count, (uint32_t)begun,
                      worker_time_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns);
}

/* ---- which there are ------------------------------------------------------------------------ */

void listening_init(struct worker *worker)
{
    ev_init(&worker->hello_timer, on_hello_pause_end);
    worker->hello_timer.data = worker;
    hello_share_init(&worker->hello_share, worker_time_ns(CLOCK_MONOTONIC));
}

static struct listening *find(struct worker *worker, int fd)
{
    for (uint32_t i = 0; i < worker->listening_count; i++)
        if (worker->listening[i].socket.fd == fd)
            return &worker->listening[i];
    return NULL;
}

static struct listening *free_place(struct worker *worker)
{
    struct listening *place = find(worker, -1);
    return place != NULL ? place : &worker->listening[worker->listening_count++];
}

static struct listening *add(struct worker *worker, const struct worker_sockets *sockets)
{
    struct listening *listening = free_place(worker);
    *listening = (struct listening){
        .worker = worker, .socket = sockets->sessions, .hello_socket = sockets->hellos};
    ev_io_init(&listening->watcher, on_client_readable, listening->socket.fd, EV_READ);
    ev_io_start(worker->loop, &listening->watcher);
    if (listening->hello_socket.fd < 0)
        return listening;
    ev_io_init(&listening->hello_watcher, on_hello_readable, listening->hello_socket.fd, EV_READ);
    ev_set_priority(&listening->hello_watcher, EV_MINPRI);
    listening->hello_watcher.data = listening;
    if (!hellos_wait(worker))
        ev_io_start(worker->loop, &listening->hello_watcher);
    return listening;
}

static void set_one(struct worker *worker, const struct worker_sockets *sockets)
{
    struct listening *listening = find(worker, sockets->sessions.fd);
    bool is_known = listening != NULL && listening->listener == sockets->listener;
    if (listening == NULL)
        listening = add(worker, sockets);
    else if (!is_known)
        datapath_remove_socket(&worker->datapath, &listening->socket);
    if (!is_known)
        datapath_add_socket(&worker->datapath, sockets->listener, &listening->socket);
    listening->listener = sockets->listener;
    listening->is_leaving = false;
}

void listening_set(struct worker *worker, const struct worker_sockets *sockets, uint32_t count)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        worker->listening[i].is_leaving = worker->listening[i].socket.fd >= 0;
        worker->listening[i].rounds_left = LEAVING_ROUNDS_MAX;
    }
    for (uint32_t i = 0; i < count; i++)
        set_one(worker, &sockets[i]);
}

/* ---- those that are leaving ------------------------------------------------------------------ */

static bool drain_one(struct listening *listening)
{
    struct worker *worker = listening->worker;
    uint64_t now_ms = worker_time_ms(worker);
    if (listening->rounds_left == 0)
        return false;
    listening->rounds_left--;
    if (udp_receive(&listening->socket, &worker->in)) {
        datapath_from_client(&worker->datapath, listening->listener, &listening->socket,
                             &worker->in, now_ms);
        return true;
    }
    if (listening->hello_socket.fd < 0 || !udp_receive(&listening->hello_socket, &worker->in))
        return false;
    take_hellos(listening, now_ms);
    return true;
}

bool listening_drain(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listening_count; i++)
        if (worker->listening[i].is_leaving && drain_one(&worker->listening[i]))
            return true;
    return false;
}

void listening_forget_leaving(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        struct listening *listening = &worker->listening[i];
        if (!listening->is_leaving)
            continue;
        ev_io_stop(worker->loop, &listening->watcher);
        if (listening->hello_socket.fd >= 0)
            ev_io_stop(worker->loop, &listening->hello_watcher);
        datapath_remove_socket(&worker->datapath, &listening->socket);
        listening->socket.fd = listening->hello_socket.fd = -1;
        listening->is_leaving = false;
    }
}

/* ---- before there is a thread ---------------------------------------------------------------- */

void listening_give(struct worker *worker, const struct addr *bound, const struct udp_in *batch)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        struct listening *listening = &worker->listening[i];
        if (addr_equal(&listening->socket.bound, bound))
            datapath_from_client(&worker->datapath, listening->listener, &listening->socket, batch,
                                 worker_time_ms(worker));
    }
}
