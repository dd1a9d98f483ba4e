#include "worker/worker_swap.h"

#include "worker/listening.h"
#include "worker/worker_time.h"

/* So long a datagram may have to wait for it. */
enum { SLICE_NS = 500 * 1000 };

static void note(struct worker_swap *swap)
{
    /* It may be freed as soon as the main thread knows. */
    void (*wake)(void *context) = swap->wake;
    void *context = swap->context;
    atomic_store(&swap->is_done, true);
    wake(context);
}

static bool end_handshakes(struct worker *worker, uint64_t now_ms)
{
    for (uint32_t i = 0; i < worker->listening_count; i++) {
        const struct listening *l = &worker->listening[i];
        if (l->is_leaving &&
            datapath_end_handshakes_at(&worker->datapath, l->listener, &l->socket, now_ms))
            return true;
    }
    return false;
}

/* False: all is done. Sockets go last: sessions that end say so by them. */
static bool step(struct worker *worker, uint64_t now_ms)
{
    struct worker_swap *swap = worker->swap;
    if (datapath_swap_on(&worker->datapath, now_ms))
        return true;
    if (swap == NULL)
        return false; /* it was the look at what was taken over */
    if (listening_drain(worker) || end_handshakes(worker, now_ms))
        return true;
    listening_forget_leaving(worker);
    datapath_swap_end(&worker->datapath);
    worker->swap = NULL;
    note(swap);
    return false;
}

static void start(struct worker *worker)
{
    ev_timer_stop(worker->loop, &worker->swap_timer);
    ev_timer_set(&worker->swap_timer, 0.0, 0.0);
    ev_timer_start(worker->loop, &worker->swap_timer);
}

static void on_slice(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct worker *worker = watcher->data;
    uint64_t now_ms = worker_time_ms(worker);
    uint64_t end_ns = worker_time_ns(CLOCK_MONOTONIC) + SLICE_NS;
    bool is_more;
    (void)loop;
    (void)events;
    do {
        is_more = step(worker, now_ms);
    } while (is_more && worker_time_ns(CLOCK_MONOTONIC) < end_ns);
    worker_time_keep(worker, now_ms);
    if (is_more)
        start(worker); /* due at once, behind what has arrived meanwhile */
}

void worker_swap_init(struct worker *worker)
{
    ev_timer_init(&worker->swap_timer, on_slice, 0.0, 0.0);
    worker->swap_timer.data = worker;
}

void worker_swap_look(struct worker *worker)
{
    if (worker->datapath.is_looking)
        start(worker);
}

void worker_swap_begin(struct worker *worker, struct worker_swap *swap, uint64_t now_ms)
{
    worker->swap = swap;
    datapath_swap(&worker->datapath, swap->generation, now_ms);
    listening_set(worker, swap->sockets, swap->socket_count);
    start(worker);
}
