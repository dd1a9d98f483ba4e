#include "session/turn.h"

#include "session/path.h"

/* The record at hand is authentic and new: so the device is there where it came from, and is
 * answered there. */
void turn_note_path(struct turn *t)
{
    if (t->arrival != NULL && t->opened.is_authentic && !t->has_moved &&
        t->session->state == SESSION_ESTABLISHED)
        t->has_moved = path_on_authentic(t->all, t->session, t->arrival, t->opened.is_newest);
    t->opened.is_authentic = false; /* once a record */
}

static void send_record(void *owner, const uint8_t *record, size_t len)
{
    struct turn *t = owner;
    turn_note_path(t);
    t->datagram = 0; /* nothing joins another: a stack may look for no second record there */
    bool is_sent = path_send(t->all, t->session, record, len, &t->datagram, t->failed);
    if (t->record_count++ == 0)
        t->is_kept_back = !is_sent;
}

struct association_call turn_call(struct turn *t, bool is_contested)
{
    return (struct association_call){
        .work = t->all->work,
        .cells = &t->all->cells,
        .now_ms = t->all->now_ms,
        .send = send_record,
        .owner = t,
        .is_contested = is_contested,
        .limits = t->all->limits,
    };
}
