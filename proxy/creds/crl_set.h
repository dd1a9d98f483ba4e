/* The CRLs of a listener's CAs, and what they say about a device's path. Immutable when loaded,
 * read by all workers. */
#ifndef CRL_SET_H
#define CRL_SET_H

#include "base/digest_set.h"
#include "creds/credential.h"
#include "creds/crl.h"

/* What is kept of a CRL. */
struct crl_of_ca {
    /* The CA's: subject, and the key that has signed the CRL. Owned. */
    uint8_t *bytes;
    struct der name, public_key_info;
    int64_t this_update, next_update;
    struct digest_set revoked; /* of credential_digest_certificate() */
};

struct crl_set {
    struct crl_of_ca *crls; /* owned; one for each CA, by name and key */
    size_t count;
};

enum crl_added {
    CRL_ADDED,
    CRL_OLDER, /* than one of the same CA, which stays */
    CRL_NEWER, /* than one of the same CA, which goes */
    CRL_NO_MEMORY,
};

/* Adds one that the CA has signed, which the caller has verified. */
enum crl_added crl_set_add(struct crl_set *set, const struct crl *crl,
                           const struct certificate *ca);
/* The one of a CA, or NULL. */
const struct crl_of_ca *crl_set_find(const struct crl_set *set, const struct certificate *ca);
/* Leaves it empty. */
void crl_set_deinit(struct crl_set *set);

/* Whether a certificate is revoked, by its digest. */
bool crl_set_has(const struct crl_set *set, const uint8_t digest[CREDENTIAL_DIGEST_BYTES]);
/* Whether all of them are valid now, or there are none. */
bool crl_set_is_current(const struct crl_set *set, int64_t now);

/* Every certificate of the path is looked at, the trusted one too if it has issued itself.
 * FLAW_NONE or the flaw and the place of the certificate that has it. digests: those of the path.
 */
enum certificate_flaw crl_set_check(const struct crl_set *set, const struct certificate_path *path,
                                    const struct credential_digests *digests, int64_t now,
                                    size_t *at);

/* When the first of them expires: seconds since 1970, CRL_NEVER if none does. */
int64_t crl_set_next_update(const struct crl_set *set);
/* Revoked certificates of all of them. */
size_t crl_set_revoked(const struct crl_set *set);

#endif
