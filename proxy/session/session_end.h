/* How sessions end: one function, whoever asks. One worker's thread. */
#ifndef SESSION_END_H
#define SESSION_END_H

#include <stdbool.h>
#include <stdint.h>

#include "session/session_store.h"

/* The one way in which sessions end. With a farewell a close_notify is sent. Harmless if it has
 * ended. */
void session_end(struct sessions *all, struct session *s, enum close_reason reason,
                 bool with_farewell, uint64_t now_ms);
/* Ends the session as replaced, if it is still there. */
void sessions_end_replaced(struct sessions *all, const struct identities_session *session,
                           uint64_t now_ms);
/* Ends all sessions with a close_notify each, as many as there is time for. */
void sessions_end_all(struct sessions *all, uint64_t now_ms);

/* What other workers call it, and whom it belongs to, for sessions_per_identity. */
struct identities_session session_name_of(const struct sessions *all, const struct session *s);
void session_identity_key(const struct sessions *all, const struct session *s,
                          struct identities_key *key);
/* It counts from now on, or no more. Harmless if it does already, or does not: then no lock is
 * taken to leave. */
void session_count_for_identity(struct sessions *all, struct session *s);
void session_leave_identity(struct sessions *all, struct session *s);

#endif
