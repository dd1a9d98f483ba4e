/* Who is admitted by a listener's credentials, beyond what a handshake proves: deny_file, CRLs, and
 * what has changed since a session or ticket began. */
#include "creds/creds.h"

#include <string.h>

bool creds_has_denied(const struct creds *creds, const void *identity, size_t identity_size)
{
    return creds->deny != NULL && deny_has_identity(creds->deny, identity, identity_size);
}

static bool has_denied_path(const struct creds *creds, const struct certificate *own,
                            const struct credential_digests *digests)
{
    uint8_t identity[PSK_IDENTITY_MAX];
    if (creds->deny == NULL)
        return false;
    size_t size = certificate_identity(own, identity, sizeof(identity));
    return deny_has_key(creds->deny, digests->at[0]) ||
           deny_has_identity(creds->deny, identity, size);
}

enum certificate_flaw creds_check_path(const struct creds *creds,
                                       const struct certificate_path *path,
                                       const struct credential_digests *digests, int64_t now,
                                       size_t *at)
{
    *at = 0;
    if (has_denied_path(creds, path->certificates[0], digests))
        return FLAW_DENIED;
    return creds->has_crls ? crl_set_check(&creds->crls, path, digests, now, at) : FLAW_NONE;
}

static enum creds_verdict admits_psk(const struct creds *creds,
                                     const struct credential_record *record)
{
    struct der identity = {record->identity, record->identity_size}, key;
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    if (creds->psks == NULL)
        return CREDS_REVOKED;
    key.bytes = psk_find(creds->psks, identity.bytes, identity.size, &key.size);
    if (key.bytes == NULL)
        return CREDS_REVOKED;
    /* To keep it with each key would cost memory for all that a reload looks at once. */
    return record->digest_count == 1 && credential_digest_psk(identity, key, digest) &&
                   memcmp(record->digests, digest, sizeof(digest)) == 0
               ? CREDS_ADMITTED
               : CREDS_KEY_CHANGED;
}

static enum creds_verdict admits_certificate(const struct creds *creds,
                                             const struct credential_record *record)
{
    bool is_revoked = record->digest_count != 0 && creds->deny != NULL &&
                      deny_has_key(creds->deny, record->digests);
    for (size_t i = 1; i < record->digest_count && !is_revoked; i++)
        is_revoked = crl_set_has(&creds->crls, record->digests + i * CREDENTIAL_DIGEST_BYTES);
    return is_revoked ? CREDS_REVOKED : CREDS_ADMITTED;
}

enum creds_verdict creds_admits(const struct creds *creds, const struct credential_record *record)
{
    if (record->kind != CREDENTIAL_NONE &&
        creds_has_denied(creds, record->identity, record->identity_size))
        return CREDS_REVOKED;
    switch (record->kind) {
    case CREDENTIAL_PSK: return admits_psk(creds, record);
    case CREDENTIAL_CERTIFICATE: return admits_certificate(creds, record);
    case CREDENTIAL_NONE: return CREDS_ADMITTED;
    default: return CREDS_REVOKED;
    }
}

/* The trusted certificate is the last of the path. */
static bool has_anchor(const struct creds *creds, const struct credential_record *record)
{
    return record->digest_count >= 2 &&
           digest_set_has(&creds->anchor_digests,
                          record->digests + (record->digest_count - 1) * CREDENTIAL_DIGEST_BYTES);
}

bool creds_may_resume(const struct creds *creds, const struct credential_record *record,
                      int64_t now)
{
    if (creds_admits(creds, record) != CREDS_ADMITTED)
        return false;
    switch (record->kind) {
    case CREDENTIAL_PSK: return true;
    case CREDENTIAL_CERTIFICATE:
        return has_anchor(creds, record) && crl_set_is_current(&creds->crls, now);
    default: return creds->is_open;
    }
}
