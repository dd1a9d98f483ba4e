/* The log lines of sessions: what they are called and which keys they have, in one place. Lines
 * that devices can cause at will go through the sessions' limiter. */
#ifndef SESSION_LOG_H
#define SESSION_LOG_H

#include "handshake/handshake.h"
#include "session/session_store.h"

void session_log_established(struct sessions *all, const struct session *s,
                             const struct handshake *handshake);
/* The device is seen at another address. */
void session_log_moved(struct sessions *all, const struct session *s, const struct addr *to);
/* max_sessions is reached: for a device of that listener another one's session ends. */
void session_log_full(struct sessions *all, const struct listener *listener);
/* The gate stops, and so many sessions end without a line or a farewell of their own. */
void session_log_untold(uint32_t count);
void session_log_closed(struct sessions *all, const struct session *s, enum close_reason reason);
void session_log_too_large(struct sessions *all, const struct session *s, size_t len);
/* The role policy kept a datagram back: a bug. */
void session_log_kept_back(struct sessions *all, const struct session *s);

#endif
