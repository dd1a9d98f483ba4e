/* One call of a session's association, and what it needs to reach the device. One worker's thread.
 */
#ifndef TURN_H
#define TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "session/session_store.h"

/* Zeroed but for what the call is about. */
struct turn {
    struct sessions *all;
    struct session *session;
    const struct arrival *arrival;    /* NULL: it is not over a datagram of the device */
    struct association_opened opened; /* the record at hand */
    uint64_t datagram;                /* that was queued last, for a record that may follow */
    bool *failed;
    uint32_t record_count; /* that the association has made */
    bool is_kept_back;     /* the first of them; a KeyUpdate may follow data */
    bool has_moved;        /* over this datagram, which cannot prove the address as well */
};

/* What the association is called with: records that it makes go to the device, as turn says.
 * is_contested: see association.h. The turn must stay valid for the call. */
struct association_call turn_call(struct turn *turn, bool is_contested);

/* The record at hand has been opened: the session is where it came from, if it was newer than all
 * before. Harmless if that was noted already, because it was answered. */
void turn_note_path(struct turn *turn);

#endif
