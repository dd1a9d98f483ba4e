/* How a running gate goes over to other settings: a whole new generation is built first, with all
 * sockets that it needs; then the workers go over, each when it can, and only then is closed and
 * freed what nobody needs any more. On any error nothing has changed. Main thread. */
#ifndef SWAP_H
#define SWAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/problems.h"
#include "creds/generation.h"
#include "run/sockets.h"
#include "run/start_settings.h"
#include "worker/worker.h"

/* What /metrics tells; written by the main thread, read by any. */
struct swap_record {
    _Atomic uint64_t succeeded, failed;
    _Atomic bool is_good;       /* the latest one; true at the start */
    _Atomic int64_t good_since; /* when settings were read that are in force; seconds since 1970 */
};

struct swap {
    /* In force; owned. */
    struct generation *generation;
    struct sockets *sockets;
    struct start_settings start;
    pthread_mutex_t lock; /* of `generation`, for other threads: swap_generation() */
    struct swap_record record;

    /* Borrowed. */
    const char *path;
    struct state *state;
    struct worker *const *workers;
    uint32_t worker_count;
    void (*wake)(void *context); /* called by any thread: swap_go_on() has something to do */
    void *context;

    /* On the way; owned. */
    struct generation *before; /* NULL = nothing is on the way */
    struct sockets *sockets_before;
    struct worker_swap *asked;      /* one a worker */
    bool *is_asked;                 /* one a worker; false: there was no memory for the mail */
    struct worker_sockets *in_list; /* what `asked` points to */
    struct generation *retired;     /* somebody may still need them */
};

/* Takes the generation that the gate begins with; its sockets follow. */
void swap_init(struct swap *swap, struct generation *generation);
/* When the workers have been joined. Frees what is in force, too. */
void swap_deinit(struct swap *swap);

/* The generation in force, with a reference that generation_give() gives back. Any thread. */
struct generation *swap_generation(struct swap *swap);

/* Reads the settings anew and asks the workers to go over to them. False: `problems` says why, and
 * the settings in force stay. Not while another one is on its way. */
bool swap_begin(struct swap *swap, struct problems *problems) MUST_USE;
static inline bool swap_is_idle(const struct swap *swap)
{
    return swap->before == NULL;
}
/* To be called when it has been woken, and each second. True, once for each swap: all workers have
 * gone over. */
bool swap_go_on(struct swap *swap);

#endif
