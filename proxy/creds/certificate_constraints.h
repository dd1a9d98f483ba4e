/* Name constraints (RFC 5280 section 4.2.1.10). Part of certificate.c; pure. */
#ifndef CERTIFICATE_CONSTRAINTS_H
#define CERTIFICATE_CONSTRAINTS_H

#include "creds/certificate.h"

/* True if the name constraints of the issuer, which must have some, allow all names of the
 * certificate: its subject, the e-mail addresses therein and its subjectAltNames. A device's own
 * (is_last) is also measured by its common name if that looks like a DNS name and there is no
 * other, as OpenSSL and GnuTLS do. What cannot be read or is of a form that is not supported is not
 * allowed. */
bool certificate_constraints_allow(const struct certificate *issuer,
                                   const struct certificate *certificate, bool is_last);

#endif
