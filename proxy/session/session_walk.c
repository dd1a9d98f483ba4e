#include "session/session_walk.h"

void session_walk_begin(struct sessions *all, struct session_cursor *cursor)
{
    *cursor = (struct session_cursor){.next = all->oldest, .other = all->cursors};
    all->cursors = cursor;
}

struct session *session_walk_next(struct sessions *all, struct session_cursor *cursor)
{
    if (cursor->next == CELLS_NONE) {
        session_walk_end(all, cursor);
        return NULL;
    }
    struct session *s = cells_at(&all->cells, cursor->next);
    cursor->next = s->newer;
    return s;
}

void session_walk_end(struct sessions *all, struct session_cursor *cursor)
{
    struct session_cursor **at = &all->cursors;
    while (*at != NULL && *at != cursor)
        at = &(*at)->other;
    if (*at == cursor)
        *at = cursor->other;
    cursor->next = CELLS_NONE;
}
