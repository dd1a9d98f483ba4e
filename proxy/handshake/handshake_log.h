/* The log lines of handshakes: what they are called and which keys they have, in one place. The
 * caller asks its limiter first: all of them are of strangers, or nearly. */
#ifndef HANDSHAKE_LOG_H
#define HANDSHAKE_LOG_H

#include "base/log.h"
#include "handshake/dtls.h"
#include "handshake/progress.h"

/* Whom a line is about. */
struct handshake_subject {
    const struct listener *listener;
    const struct addr *client;
    uint64_t number; /* 0 = there is no handshake yet, or no more */
};

/* What is known of a handshake that failed. */
struct handshake_failure {
    enum handshake_result result;
    const char *detail; /* "" = the reason says it all */
    enum dtls_version version;
    const struct dtls *dtls;         /* NULL = complete, so that nothing is left of it */
    const struct progress *progress; /* NULL = it did not come as far as our flight */
};

void handshake_log_failed(const struct handshake_subject *subject,
                          const struct handshake_failure *failure);
/* A handshake of an identity that is traced has ended; took_ms: since it began. */
void handshake_log_traced(const struct handshake_subject *subject, enum handshake_result result,
                          const char *detail, enum dtls_version version, uint64_t took_ms);
/* Of a device that cannot use the ticket of DTLS 1.3 which it offers. */
void handshake_log_ticket_unusable(const struct handshake_subject *subject, uint8_t alert);
/* The likely reason is told at once, since the handshake only fails at its timeout: a forged record
 * must not end it. */
void handshake_log_stalled(const struct handshake_subject *subject, const struct dtls *dtls,
                           enum handshake_result reason, const char *detail);
void handshake_log_hello_ignored(const struct handshake_subject *subject, const uint8_t *hello,
                                 size_t len, enum handshake_result reason, const char *detail);
/* A fatal alert of a device that has neither session nor handshake; has_old_ticket: its hello had
 * something like a ticket of DTLS 1.3. */
void handshake_log_stranger_alert(const struct handshake_subject *subject, uint8_t alert,
                                  bool has_old_ticket);

#endif
