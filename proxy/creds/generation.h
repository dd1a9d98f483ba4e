/* One immutable generation of settings and credentials: built completely by reload.c, then shared
 * by all workers, until another one has taken its place and nobody needs it any more. */
#ifndef GENERATION_H
#define GENERATION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"
#include "config/config.h"
#include "creds/creds.h"
#include "state/layout.h"

struct generation;

struct listener {
    const struct listener_config *config; /* owned by generation.config */
    struct creds *creds;
    /* Stable while generations change, and over restarts, so that sessions, slots and counters can
     * hold it: state/state_listeners.h. */
    uint32_t number;
    bool counts_anew;              /* the number was another listener's, or nobody's */
    struct generation *generation; /* that it is of */
};

struct generation {
    /* One of the main thread, which frees it when there is no other; one of each worker; one of
     * each handshake that began with it. */
    _Atomic uint32_t references;
    struct config *config;
    struct listener *listeners; /* config->listener_count of them, in the order of the file */
    const struct listener *by_number[LAYOUT_LISTENERS_MAX]; /* NULL = it has none of that number */
    /* Cookie secrets of all workers are derived from it, so that a hello may be answered by one
     * worker and come back to another. Random: 32 bytes, of the state, or of kept_master. */
    const uint8_t *cookie_master;
    struct secret kept_master;
    struct secret state_key;  /* of the state_file; holds nothing if there is none */
    struct generation *older; /* of those that wait to be freed: run/swap.c */
};

/* The listener of that number, or NULL. */
static inline const struct listener *generation_listener(const struct generation *generation,
                                                         uint32_t number)
{
    return number < LAYOUT_LISTENERS_MAX ? generation->by_number[number] : NULL;
}

/* One more has it; gives it back. Any thread. Never the last one: that is the main thread's, which
 * frees it, since that takes long. */
static inline void generation_keep(struct generation *generation)
{
    atomic_fetch_add_explicit(&generation->references, 1, memory_order_relaxed);
}
static inline void generation_give(struct generation *generation)
{
    atomic_fetch_sub_explicit(&generation->references, 1, memory_order_release);
}

#endif
