/* Which listeners take no new handshakes, because an operator has said so. By number, so that it
 * holds while generations change; a restart forgets it. Changed by the main thread; any may read
 * it. */
#ifndef DRAINS_H
#define DRAINS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "creds/generation.h"

struct drains {
    _Atomic bool is_draining[LAYOUT_LISTENERS_MAX];
    _Atomic bool are_all; /* of the generation in use */
};

/* One listener, or all of the generation if that is NULL. */
void drains_set(struct drains *drains, const struct generation *generation,
                const struct listener *listener, bool is_draining);
/* Another generation is in use. A listener that is not in it any more is forgotten. */
void drains_recount(struct drains *drains, const struct generation *generation);

#endif
