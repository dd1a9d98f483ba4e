#include "run/swap.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "run/gate_log.h"
#include "run/host.h"
#include "run/reload.h"

void swap_init(struct swap *swap, struct generation *generation)
{
    *swap = (struct swap){.generation = generation};
    start_settings_note(&swap->start, &generation->config->gate);
    pthread_mutex_init(&swap->lock, NULL); /* cannot fail without attributes */
    atomic_store(&swap->record.is_good, true);
    atomic_store(&swap->record.good_since, (int64_t)time(NULL));
}

struct generation *swap_generation(struct swap *swap)
{
    pthread_mutex_lock(&swap->lock);
    struct generation *generation = swap->generation;
    generation_keep(generation);
    pthread_mutex_unlock(&swap->lock);
    return generation;
}

/* ---- what is over ---------------------------------------------------------------------------- */

static void forget_asked(struct swap *swap)
{
    free(swap->asked);
    free(swap->is_asked);
    free(swap->in_list);
    swap->asked = NULL;
    swap->is_asked = NULL;
    swap->in_list = NULL;
}

/* Freed when handshakes and scrapes that began with them have ended: then this thread has the last
 * reference. */
static void free_retired(struct swap *swap)
{
    struct generation **at = &swap->retired;
    while (*at != NULL) {
        struct generation *generation = *at;
        if (atomic_load_explicit(&generation->references, memory_order_acquire) != 1) {
            at = &generation->older;
            continue;
        }
        *at = generation->older;
        reload_release(generation);
    }
}

static void retire(struct swap *swap, struct generation *generation)
{
    generation->older = swap->retired;
    swap->retired = generation;
}

void swap_deinit(struct swap *swap)
{
    forget_asked(swap);
    if (swap->before != NULL)
        retire(swap, swap->before);
    free_retired(swap);
    reload_release(swap->generation);
    sockets_close(swap->sockets_before);
    sockets_close(swap->sockets);
    pthread_mutex_destroy(&swap->lock);
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* Connection IDs that devices have could not be told from others any more. */
static void refuse_other_cids(const struct generation *now, const struct generation *next,
                              struct problems *problems)
{
    for (uint32_t i = 0; i < next->config->listener_count; i++) {
        const struct listener *listener = &next->listeners[i];
        const struct listener *before = generation_listener(now, listener->number);
        if (before == NULL || before->config->cid_bytes == listener->config->cid_bytes)
            continue;
        problems_error(problems,
                       "%s:%u: [listener %s] cid_length = %u: cannot change from %u while the "
                       "gate runs: the connection IDs that its devices have are of that length; "
                       "make another listener with another name at another address",
                       next->config->path, listener->config->lines[LISTENER_cid_bytes],
                       listener->config->name, listener->config->cid_bytes,
                       before->config->cid_bytes);
    }
}

static bool make_lists(struct swap *swap, const struct sockets *next)
{
    uint32_t count = next->entry_count;
    swap->asked = calloc(swap->worker_count, sizeof(*swap->asked));
    swap->is_asked = calloc(swap->worker_count, sizeof(*swap->is_asked));
    swap->in_list = calloc((size_t)swap->worker_count * count, sizeof(*swap->in_list));
    if (swap->asked == NULL || swap->is_asked == NULL || swap->in_list == NULL) {
        forget_asked(swap);
        return false;
    }
    for (uint32_t w = 0; w < swap->worker_count; w++) {
        struct worker_sockets *list = swap->in_list + (size_t)w * count;
        sockets_of_worker(next, w, list);
        swap->asked[w].sockets = list;
        swap->asked[w].socket_count = count;
        swap->asked[w].wake = swap->wake;
        swap->asked[w].context = swap->context;
    }
    return true;
}

static struct sockets *open_sockets(struct swap *swap, const struct generation *next,
                                    struct err *err)
{
    if (!host_raise_descriptors(next->config, swap->worker_count, err))
        return NULL;
    struct sockets *sockets = sockets_change(swap->sockets, next, err);
    if (sockets == NULL || make_lists(swap, sockets))
        return sockets;
    sockets_change_back(sockets, swap->sockets);
    err_set(err, "out of memory for what workers are told");
    return NULL;
}

static void ask_workers(struct swap *swap)
{
    for (uint32_t w = 0; w < swap->worker_count; w++) {
        if (swap->is_asked[w])
            continue; /* it is the worker's to read */
        swap->asked[w].generation = swap->generation;
        swap->is_asked[w] = worker_ask_to_swap(swap->workers[w], &swap->asked[w]);
    }
}

static void put_in_force(struct swap *swap, struct generation *next, struct sockets *sockets)
{
    swap->before = swap->generation;
    swap->sockets_before = swap->sockets;
    pthread_mutex_lock(&swap->lock);
    swap->generation = next;
    pthread_mutex_unlock(&swap->lock);
    swap->sockets = sockets;
    gate_log_set(&next->config->gate);
    ask_workers(swap);
}

static bool try_to_begin(struct swap *swap, struct problems *problems)
{
    struct err err = {0};
    struct generation *next = reload_build(swap->path, problems);
    if (next == NULL)
        return false;
    uint32_t errors_before = problems->error_count;
    if (!reload_plan(next, swap->state, &err))
        problems_error(problems, "%s: %s", swap->path, err.text);
    refuse_other_cids(swap->generation, next, problems);
    start_settings_compare(&swap->start, &next->config->gate, swap->path, problems);
    struct sockets *sockets =
        problems->error_count == errors_before ? open_sockets(swap, next, &err) : NULL;
    if (sockets != NULL && reload_follow(next, swap->state, &err)) {
        put_in_force(swap, next, sockets);
        return true;
    }
    if (problems->error_count == errors_before)
        problems_error(problems, "%s: %s", swap->path, err.text);
    if (sockets != NULL) {
        forget_asked(swap);
        sockets_change_back(sockets, swap->sockets);
    }
    reload_release(next);
    return false;
}

bool swap_begin(struct swap *swap, struct problems *problems)
{
    bool has_begun = try_to_begin(swap, problems);
    atomic_store(&swap->record.is_good, has_begun);
    atomic_fetch_add(has_begun ? &swap->record.succeeded : &swap->record.failed, 1);
    if (has_begun)
        atomic_store(&swap->record.good_since, (int64_t)time(NULL));
    return has_begun;
}

/* ---- going on -------------------------------------------------------------------------------- */

static bool have_all(const struct swap *swap)
{
    for (uint32_t w = 0; w < swap->worker_count; w++)
        if (!swap->is_asked[w] || !atomic_load(&swap->asked[w].is_done))
            return false;
    return true;
}

bool swap_go_on(struct swap *swap)
{
    bool is_done = false;
    if (!swap_is_idle(swap)) {
        ask_workers(swap);
        is_done = have_all(swap);
    }
    if (is_done) {
        sockets_close(swap->sockets_before);
        swap->sockets_before = NULL;
        retire(swap, swap->before);
        swap->before = NULL;
        forget_asked(swap);
    }
    free_retired(swap);
    return is_done;
}
