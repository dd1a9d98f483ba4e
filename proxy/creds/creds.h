/* A listener's credentials: the PSK store, the certificate, and the wolfSSL context made of them.
 * Built at load, immutable afterwards, shared by all workers. Owns the key material of the process
 * that outlives a session, in memory that is left out of core dumps; wiped on free, never logged.
 */
#ifndef CREDS_H
#define CREDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"
#include "config/config.h"
#include "count/counters.h"
#include "creds/certificate_path.h"
#include "creds/crl_set.h"
#include "creds/deny.h"
#include "creds/psk.h"

/* wolfSSL's own types; headers of wolfSSL stay in dtls.c, cookie.c, creds.c */
struct WOLFSSL;
struct WOLFSSL_CTX;

/* The DTLS 1.3 suites that go with a PSK, best first: those with SHA-256, the hash of an external
 * PSK (RFC 8446 section 4.2.11). The first byte of their code is 0x13. */
enum { CREDS_PSK13_SUITES = 4 };
struct creds_psk13_suite {
    uint8_t code;
    const char *name; /* wolfSSL's */
};
extern const struct creds_psk13_suite creds_psk13_suites[CREDS_PSK13_SUITES];

enum { CREDS_SUITES_MAX = 32 };

struct creds {
    uint16_t suites[CREDS_SUITES_MAX]; /* codes of those that the listener has */
    uint8_t suite_count;
    bool has_psk13_suite[CREDS_PSK13_SUITES]; /* offered by this listener */
    /* Versions, suites, groups, certificate, CA, verify mode and the life of tickets are set; the
     * session cache is off. Callbacks are not set: without the PSK callbacks no PSK suite is
     * chosen, without the ticket callback no ticket is given. */
    struct WOLFSSL_CTX *ctx;
    struct psk_store *psks; /* NULL: the listener takes no PSK */
    struct deny_list *deny; /* NULL: nobody is denied */
    /* The CAs of client_ca. The context has none and refuses every certificate until a callback
     * judges it, see dtls_certificate.c. */
    struct certificate_anchors anchors;
    struct digest_set anchor_digests; /* of credential_digest_certificate() */
    bool has_crls; /* every certificate of a device's path must be good by them */
    struct crl_set crls;
    enum certificate_key certificate_key; /* KEY_UNKNOWN: the listener has no certificate */
    int64_t certificate_not_after;        /* the earliest of its chain; seconds since 1970 */
    /* Keys of tickets are derived from it. Random: a ticket is good for this listener only. 32
     * bytes: of the state once the listener has a number there, so that tickets outlive reloads and
     * processes; until then, and where there is no state, of kept_master. */
    uint8_t *ticket_master;
    struct secret kept_master, private_key; /* the second is ctx's, and goes after it */
    bool is_open;                           /* a device may enter without a credential */
    bool has_mixed_auth; /* a PSK or a client certificate is required, see creds_settle_verify */
};

/* Loads what the listener's settings name; the config must have passed config_load. Every problem
 * is added, with the place in the config file or the line of the PSK file; NULL if any was an
 * error. The caller owns the result. */
struct creds *creds_load(const struct config *config, const struct listener_config *listener,
                         struct problems *problems) MUST_USE;
/* NULL is harmless. */
void creds_free(struct creds *creds);

/* Call it after each handshake step of an object that did not end the handshake. Where a PSK or a
 * client certificate is required, the context requires the certificate of everyone; this lifts that
 * from a handshake whose hello has chosen a PSK. wolfSSL's own WOLFSSL_VERIFY_FAIL_EXCEPT_PSK does
 * not serve: DTLS 1.3 ignores it and lets clients without any credential in, and DTLS 1.2 then
 * refuses them without an alert. */
void creds_settle_verify(const struct creds *creds, struct WOLFSSL *ssl);

/* The key of an identity (bytes, not a string), borrowed as long as creds live; NULL if unknown. */
const uint8_t *creds_find_psk(const struct creds *creds, const void *identity, size_t identity_size,
                              size_t *key_size);

/* Whether deny_file has the identity of a PSK or a certificate. */
bool creds_has_denied(const struct creds *creds, const void *identity, size_t identity_size);

/* What a device's path, which is good otherwise, is by the CRLs and deny_file: FLAW_NONE, or the
 * flaw and the place of the certificate that has it. digests: those of the path. */
enum certificate_flaw creds_check_path(const struct creds *creds,
                                       const struct certificate_path *path,
                                       const struct credential_digests *digests, int64_t now,
                                       size_t *at);

/* What the credential of a session or ticket is to a listener now. */
enum creds_verdict {
    CREDS_ADMITTED,
    CREDS_REVOKED,     /* not in psk_file any more, or in deny_file, or a CRL has it */
    CREDS_KEY_CHANGED, /* the identity has another PSK */
};

/* Asked for each session when credentials have changed, so it is quick. A session with a
 * certificate stays admitted whatever client_ca holds now, and when a CRL has expired; one without
 * a credential whatever client_auth says. */
enum creds_verdict creds_admits(const struct creds *creds, const struct credential_record *record);

/* Whether a ticket of such a session may be used, which is more: the CA at the end of its path must
 * still be in client_ca, every CRL current, and a device without a credential allowed. If not, the
 * device has to shake hands in full, and is judged then. now: seconds since 1970. */
bool creds_may_resume(const struct creds *creds, const struct credential_record *record,
                      int64_t now);

/* Whether the listener has that suite or group, by its code in IANA's registry. */
bool creds_has_suite(const struct creds *creds, uint16_t code);
bool creds_has_group(bool is_1_3, uint16_t code);

/* When the first CRL of the listener expires: seconds since 1970, 0 if none does. */
int64_t creds_crl_next_update(const struct creds *creds);

size_t creds_psk_count(const struct creds *creds);

#endif
