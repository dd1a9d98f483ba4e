/* One certificate revocation list (RFC 5280 section 5), parsed. Pure; which ones count is decided
 * in crl_set.c. Only complete ones are taken: those that say of every certificate of their CA
 * whether it is revoked. */
#ifndef CRL_H
#define CRL_H

#include "creds/certificate_parts.h"

/* Why a CRL is not taken, see crl_flaw_text(). */
enum crl_flaw {
    CRL_GOOD,
    CRL_UNREADABLE,
    CRL_DELTA,
    CRL_PARTIAL,  /* issuingDistributionPoint */
    CRL_INDIRECT, /* entries of other issuers */
    CRL_CRITICAL, /* an unknown critical extension, of it or of an entry */
};

/* What stands for "never" in crl.next_update. */
#define CRL_NEVER INT64_MAX

/* Points into the DER that it was parsed from, which must live as long. */
struct crl {
    struct certificate_signed_part signed_part;
    struct der issuer;                /* content of the Name */
    int64_t this_update, next_update; /* seconds since 1970; the latter may be CRL_NEVER */
    struct der authority_key_id;      /* the key identifier; bytes NULL: none */
    struct der entries;               /* content of revokedCertificates, each of which was read */
    size_t revoked;                   /* how many crl_next() finds */
};

/* CRL_GOOD if it is one complete CRL and nothing else. */
enum crl_flaw crl_parse(struct der der, struct crl *crl);

/* Takes the next revoked certificate off `entries`: the content of its serial. False at the end. */
bool crl_next(struct der *entries, struct der *serial) MUST_USE;

/* Words for an operator, as in "cannot be used: it is a delta CRL". */
const char *crl_flaw_text(enum crl_flaw flaw);

#endif
