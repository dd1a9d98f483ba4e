/* A look at the sessions of a process that goes on with them meanwhile: nothing is written, and
 * what is being changed just now may be seen half changed. Any process, any thread. */
#ifndef SESSIONS_LOOK_H
#define SESSIONS_LOOK_H

#include <stdint.h>

#include "state/region.h"

/* By number of a listener, LAYOUT_LISTENERS_MAX of each: cid_bytes is what its connection IDs are
 * to have, lost how many sessions could not be found any more then. */
void sessions_look_at_cids(struct region *region, const uint32_t *cid_bytes, uint32_t *lost);

#endif
