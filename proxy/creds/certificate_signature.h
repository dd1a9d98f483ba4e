/* Whether the key of a certificate has signed another one, or a CRL: the one place where paths meet
 * cryptography. */
#ifndef CERTIFICATE_SIGNATURE_H
#define CERTIFICATE_SIGNATURE_H

#include "creds/certificate.h"

/* Whether the algorithm of the signature is good enough; costs nothing. */
enum certificate_flaw certificate_signature_algorithm(
    const struct certificate_signed_part *signed_part);

/* True if the issuer's key made the signature. Both algorithms must have been found good. Costs a
 * verification. */
bool certificate_signature_is_of(const struct certificate_signed_part *signed_part,
                                 const struct certificate *issuer) MUST_USE;

#endif
