/* Sessions that their device has closed, for a moment. A closure ends what has a later record
 * number, not what arrives later (RFC 9147 section 5.10): a device that deregisters and closes
 * sends both at once, and the network may turn them round. So if records from before a close_notify
 * are missing, the keys are kept when the session ends, and what comes of them goes to the backend,
 * from the same address. It is not a session any more: its device is never sent anything, and
 * nothing of it is found, moved or counted. One worker's thread. */
#ifndef CLOSING_H
#define CLOSING_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "session/session_store.h"

enum {
    /* A radio link that repeats what was lost delays it by a second, if that. */
    CLOSING_MS = 2000,
    /* Looked at for each, at most. As many records of the usual size as its window has places for,
     * and more. */
    CLOSING_BYTES = 128 * 1024,
};

/* The session is closing: in no table any more, and has a gap before its close_notify: takes it. */
void closing_begin(struct sessions *all, struct session *s);

/* Data from before a device's close_notify goes to the backend. False if there is none in the
 * datagram: it is to be treated as if nothing was closing. */
bool closing_receive(struct sessions *all, const struct arrival *arrival);

/* The backend address is given to another session. */
void closing_yield(struct sessions *all, uint32_t slot);

/* Those whose time is over end; when that is to be called next. */
void closing_on_time(struct sessions *all);
uint64_t closing_due_ms(const struct sessions *all);

void closing_end_all(struct sessions *all);

#endif
