/* Whether one certificate has signed another: the one place where paths meet cryptography. Part of
 * certificate.c. */
#ifndef CERTIFICATE_SIGNATURE_H
#define CERTIFICATE_SIGNATURE_H

#include "creds/certificate.h"

/* Whether the algorithm that the certificate was signed with is good enough; costs nothing. */
enum certificate_flaw certificate_signature_algorithm(const struct certificate *certificate);

/* True if the issuer's key made the signature. Both algorithms must have been found good. Costs a
 * verification. */
bool certificate_signature_is_of(const struct certificate *certificate,
                                 const struct certificate *issuer) MUST_USE;

#endif
