/* Going on with an association that a process before has left. What stands in it may be garbage.
 * One worker's thread. */
#ifndef ASSOCIATION_ADOPT_H
#define ASSOCIATION_ADOPT_H

#include "session/association_state.h"
#include "state/cells_adopt.h"

/* What belongs to a session, and has been found to be cells. */
enum { ASSOCIATION_PIECES_MAX = 12 };

struct association_pieces {
    const struct cells_adopt *adopt; /* borrowed */
    const void *at[ASSOCIATION_PIECES_MAX];
    unsigned count;
};

/* There is a cell with room for that; a cell of just that room, which is noted then. */
bool association_pieces_hold(const struct association_pieces *pieces, const void *piece,
                             size_t bytes);
bool association_pieces_add(struct association_pieces *pieces, const void *piece,
                            size_t bytes) MUST_USE;

/* True if it makes sense, in its `bytes`, with all that belongs to it, which is added. */
bool association_is_sound(const struct association *association, size_t bytes,
                          struct association_pieces *pieces) MUST_USE;

/* It is a copy: who has the original may have gone on with it, so that it has to go another way, on
 * which no key and nonce meet twice (C10). False: in DTLS 1.3 there is no other way; or there are
 * no random numbers. */
bool association_renew(struct association *association) MUST_USE;

#endif
