/* A session: one door for what comes from its device, one for what goes to it, one for its end. One
 * worker's thread. */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake/arrival.h"
#include "handshake/handshake.h"
#include "session/session_begin.h"
#include "session/session_end.h"
#include "session/session_store.h"

bool sessions_init(struct sessions *all, const struct sessions_settings *settings,
                   struct err *err) MUST_USE;
/* Forgets everything; nothing is sent. What is in the region stays there. */
void sessions_deinit(struct sessions *all);

/* The session that the device's address belongs to, or the connection ID of a record; NULL = none.
 */
struct session *sessions_find(const struct sessions *all, const struct listener *listener,
                              const struct addr *client);
struct session *sessions_find_cid(const struct sessions *all, const struct listener *listener,
                                  const uint8_t *cid);

/* A hello that is repeated later than any network delays it comes from a device without a random
 * generator, after a reboot. */
bool session_is_recent(const struct session *s, uint64_t now_ms);

/* The datagram of a device, from its beginning. Opens the records, answers what the protocol itself
 * answers, moves the session to where the device is, passes plaintext on to the backend; the
 * session may have ended then. is_contested: a handshake runs at the same address (T9). Returns
 * what the datagram was. */
enum client_outcome session_receive(struct sessions *all, struct session *s,
                                    const struct arrival *arrival, bool is_contested);
/* The same for a part of a datagram, behind the end of a handshake. */
enum client_outcome session_receive_rest(struct sessions *all, struct session *s,
                                         const struct arrival *arrival, const uint8_t *data,
                                         size_t len);

/* Data from before a device's close_notify, of a session that has ended over it, goes to the
 * backend. False if there is none in the datagram: it is to be treated as if there were no such
 * session. */
bool sessions_receive_closing(struct sessions *all, const struct arrival *arrival);

/* Protects a backend's datagram and sends it to the device. *failed is set if the kernel does not
 * take it; it must stay valid until the batch is flushed. */
enum backend_outcome session_send(struct sessions *all, struct session *s, const uint8_t *data,
                                  size_t len, bool *failed, uint64_t now_ms);

/* Timers that are due; when to be called next, TIMERS_NONE = no need. */
void sessions_on_time(struct sessions *all, uint64_t now_ms);
uint64_t sessions_due_ms(const struct sessions *all);

/* Frees those that have ended; call it when no pointer to one is held. */
void sessions_reap(struct sessions *all);

#endif
