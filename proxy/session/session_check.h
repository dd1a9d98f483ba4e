/* Whether a session that a process before has left can be gone on with. Any thread. */
#ifndef SESSION_CHECK_H
#define SESSION_CHECK_H

#include "session/association_adopt.h"
#include "session/session_store.h"

/* True if all of it makes sense, in its cell of so many bytes, with all that belongs to it, which
 * is added. */
bool session_is_sound(const struct session *s, size_t cell_bytes,
                      struct association_pieces *pieces) MUST_USE;

#endif
