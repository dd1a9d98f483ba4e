/* One immutable generation of settings and credentials: built completely by reload.c, then shared
 * by all workers, freed when the last reference is gone. */
#ifndef GENERATION_H
#define GENERATION_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/secret.h"
#include "config/config.h"
#include "creds/creds.h"

struct listener {
    const struct listener_config *config; /* owned by generation.config */
    struct creds *creds;
    /* Stable for the life of the process, so that sessions, slots and counters can hold it while
     * generations change. Also the place in generation.listeners. */
    uint32_t number;
};

struct generation {
    _Atomic uint32_t references;
    struct config *config;
    struct listener *listeners; /* config->listener_count of them */
    /* Cookie secrets of all workers are derived from it, so that a hello may be answered by one
     * worker and come back to another. Random: 32 bytes of kept_master. */
    uint8_t *cookie_master;
    struct secret kept_master;
};

#endif
