/* The log lines of sessions: what they are called and which keys they have, in one place. Lines
 * that a stranger can cause go through the sessions' limiter. */
#ifndef SESSION_LOG_H
#define SESSION_LOG_H

#include "session/session.h"

void session_log_established(const struct session *session, enum credential credential);
/* The device is seen at another address. */
void session_log_moved(struct session *session, const struct addr *to);
/* The gate stops, and so many parked sessions end without a line or a farewell of their own. */
void session_log_untold(uint32_t count);
void session_log_closed(const struct session *session, enum close_reason reason);
void session_log_failed(const struct session *session, enum handshake_result result,
                        const char *detail);
/* The same before there was a session. */
void session_log_refused(struct sessions *sessions, const struct dtls *dtls,
                         const struct addr *client, enum handshake_result result,
                         const char *detail);
/* The same of a device that cannot use the ticket of DTLS 1.3 which it offers. */
void session_log_ticket_unusable(struct sessions *sessions, const struct listener *listener,
                                 const struct addr *client, uint8_t alert);
/* The device's Finished cannot be decrypted: the likely reason is told at once, since the handshake
 * only fails at its timeout (a forged record must not end it). */
void session_log_stalled(struct session *session, enum handshake_result reason, const char *detail);
void session_log_hello_ignored(struct sessions *sessions, const struct listener *listener,
                               const struct udp_datagram *hello, enum handshake_result reason,
                               const char *detail);
/* A fatal alert of a device that has neither session nor handshake; has_old_ticket: its hello had
 * something like a ticket of DTLS 1.3. */
void session_log_stranger_alert(struct sessions *sessions, const struct listener *listener,
                                const struct addr *client, uint8_t alert, bool has_old_ticket);
/* A limit bites: devices that come now are dropped without an answer. */
void session_log_limit(struct sessions *sessions, const struct listener *listener,
                       enum client_outcome limit);
void session_log_too_large(struct session *session, size_t len);
/* The role policy kept a datagram back: a bug, of ours or of the library. */
void session_log_kept_back(struct session *session);
/* The kernel did not take a datagram for the backend: an errno. */
void session_log_send_failed(struct sessions *sessions, const struct listener *listener, int error);
/* Somebody else than the listener's backend has sent to a session's address. */
void session_log_wrong_sender(struct sessions *sessions, const struct listener *listener,
                              const struct addr *from);
void session_log_backend_error(struct sessions *sessions, const struct listener *listener,
                               int error);

#endif
