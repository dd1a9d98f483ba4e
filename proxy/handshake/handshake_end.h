/* How handshakes end: counted and logged in one place. One worker's thread. */
#ifndef HANDSHAKE_END_H
#define HANDSHAKE_END_H

#include "handshake/arrival.h"
#include "handshake/cookie.h"
#include "handshake/handshake_store.h"

/* A complete one has become a session; or it fails, complete or not, for a reason of our own.
 * Counted, logged (but for the session's beginning), ended. */
void handshake_succeed(struct handshakes *all, struct handshake *handshake, uint64_t now_ms);
void handshake_fail(struct handshakes *all, struct handshake *handshake,
                    enum handshake_result result, const char *detail, uint64_t now_ms);

/* A hello proved its address and was refused at once, counted and logged in the same way; the
 * alert, if any, is sent. Takes cookie->dtls. */
void handshakes_on_refused(struct handshakes *all, struct cookie_result *cookie,
                           const struct arrival *arrival);
/* A device's alert says that it cannot use the ticket of DTLS 1.3 in its hello. */
void handshakes_on_ticket_unusable(struct handshakes *all, const struct arrival *arrival);

/* For the log: a hello that cannot be served, and the alert of a device that has neither session
 * nor handshake; has_old_ticket: its hello had something like a ticket of DTLS 1.3. */
void handshakes_on_hello_ignored(struct handshakes *all, const struct cookie_result *cookie,
                                 const struct arrival *arrival);
void handshakes_on_stranger_alert(struct handshakes *all, const struct arrival *arrival,
                                  bool has_old_ticket);

/* The handshake fails over what the library says, or over nothing that has come in time. */
void handshake_fail_as_library_says(struct handshakes *all, struct handshake *handshake);
/* It will fail, but only at its timeout: the likely reason is told at once, and once. */
void handshake_tell_stalled(struct handshakes *all, struct handshake *handshake,
                            enum handshake_result reason, const char *detail);

/* A listener is gone, or, unless it is NULL, does not have that socket any more. Ends at most `max`
 * handshakes; true: there are more. */
bool handshakes_end_some(struct handshakes *all, uint32_t listener, const struct udp_socket *socket,
                         uint32_t max, uint64_t now_ms);
/* The gate stops. */
void handshakes_end_all(struct handshakes *all, uint64_t now_ms);

#endif
