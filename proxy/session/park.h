/* Keeps the exported state of sessions that sleep, in as few bytes as is simple: the part that many
 * sessions have in common is kept once for all of them, and of the rest runs of zeros are left out.
 * What the bytes mean is dtls_park.c. One worker's thread. */
#ifndef PARK_H
#define PARK_H

#include <stdint.h>

#include "base/slab.h"
#include "handshake/dtls_park.h"

/* One session's; key material, wiped when it is dropped. */
struct parked;

/* The common part of some sessions: nothing secret. */
struct park_frame {
    uint32_t users; /* 0 = free */
    uint16_t len;
    uint8_t bytes[DTLS_EXPORT_COMMON_MAX];
};

/* Suites and ways to a session there are a dozen of; beyond that each keeps its own. */
#define PARK_FRAMES 32

struct park {
    struct park_frame frames[PARK_FRAMES];
    struct slabs *slabs; /* borrowed; wipes what is given back, and at its end everything */
};

void park_init(struct park *park, struct slabs *slabs);

/* Keeps a copy; NULL if out of memory. */
struct parked *park_keep(struct park *park, const struct dtls_export *state);
/* The same state again; it stays kept. */
void park_load(const struct park *park, const struct parked *parked, struct dtls_export *state);
/* NULL is harmless. */
void park_drop(struct park *park, struct parked *parked);

#endif
