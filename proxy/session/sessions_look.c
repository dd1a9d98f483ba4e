#include "session/sessions_look.h"

#include <string.h>

#include "session/session_store.h"
#include "state/cells_adopt.h"

void sessions_look_at_cids(struct region *region, const uint32_t *cid_bytes, uint32_t *lost)
{
    struct cells_adopt look;
    const struct session *s = NULL;
    memset(lost, 0, LAYOUT_LISTENERS_MAX * sizeof(*lost));
    cells_adopt_look(&look, region);
    while ((s = cells_adopt_next(&look, CELLS_SESSIONS, s)) != NULL)
        lost[s->listener] +=
            s->state == SESSION_ESTABLISHED && !session_fits_cid_length(s, cid_bytes[s->listener]);
}
