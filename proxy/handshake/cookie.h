/* Answers an unknown device's ClientHello without keeping state: the cookie exchange of RFC 6347
 * section 4.2.1 and RFC 9147 section 5.1, done by wolfSSL on objects that are never shared with a
 * session. Every verdict leaves behind a front that has no trace of the datagram. One worker's
 * thread, one front a listener. */
#ifndef COOKIE_H
#define COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "handshake/dtls.h"
#include "handshake/period_secret.h"

/* A cookie is good for one to two of these. */
#define COOKIE_ROTATION_MS 60000

enum cookie_verdict {
    COOKIE_ANSWER,  /* reply is a cookie reply: may be sent if the role policy agrees */
    COOKIE_GOOD,    /* the device proved its address; dtls goes on with the handshake */
    COOKIE_FAILED,  /* it proved its address, and the handshake failed at once; see dtls */
    COOKIE_BAD,     /* forged, stale, or of another address or hello */
    COOKIE_IGNORED, /* malformed, or nothing in common: no answer */
    COOKIE_NO_MEMORY,
};

struct cookie_result {
    enum cookie_verdict verdict;
    struct dtls *dtls;    /* COOKIE_GOOD, COOKIE_FAILED: the caller owns it */
    const uint8_t *reply; /* COOKIE_ANSWER, COOKIE_FAILED: valid until the next call */
    size_t reply_len;
    enum handshake_result reason; /* COOKIE_IGNORED: why */
    const char *detail;           /* the same in words; "" = the reason says it all */
};

/* Frees what the verdict left: a hello that is good may still be refused for a limit. */
void cookie_drop(struct cookie_result *result);

struct cookie_front {
    const struct listener *listener; /* borrowed */
    const uint8_t *master;           /* of the generation, 32 bytes, borrowed */
    struct dtls *spare;              /* holds no trace of any datagram; may be NULL */
    uint64_t spare_period;           /* whose secret the spare has */
    size_t reply_len;
    uint8_t reply[2048];
};

void cookie_init(struct cookie_front *front, const struct listener *listener,
                 const uint8_t master[PERIOD_SECRET_MASTER_BYTES]);
void cookie_deinit(struct cookie_front *front);

/* data begins with a ClientHello or the first fragment of one. has_cookie: it carries a DTLS 1.2
 * cookie. now_ms also decides which secrets are valid: the current one and the one before. */
struct cookie_result cookie_check(struct cookie_front *front, const struct addr *client,
                                  const uint8_t *data, size_t len, bool has_cookie,
                                  uint64_t now_ms);

#endif
