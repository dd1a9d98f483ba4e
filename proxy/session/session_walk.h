/* Walks over the sessions of a worker that take many turns of its loop: visits all that are
 * established, in the order in which they began, whatever begins and ends in between. Those that
 * begin while it lasts are visited, too, unless the last one was on its turn already. One worker's
 * thread. */
#ifndef SESSION_WALK_H
#define SESSION_WALK_H

#include "session/session_store.h"

/* The cursor is the caller's, and must stay where it is until the walk is over. */
void session_walk_begin(struct sessions *all, struct session_cursor *cursor);
/* The next one; it may be ended. NULL: that was all, and the walk is over. */
struct session *session_walk_next(struct sessions *all, struct session_cursor *cursor);
/* Gives it up; harmless if it is over. */
void session_walk_end(struct sessions *all, struct session_cursor *cursor);

#endif
