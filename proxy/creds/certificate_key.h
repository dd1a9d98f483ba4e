/* The public key of a certificate, and whether it is fit for use. Part of certificate.c; pure. */
#ifndef CERTIFICATE_KEY_H
#define CERTIFICATE_KEY_H

#include "creds/certificate.h"

/* Reads the content of a SubjectPublicKeyInfo into the certificate: public_key, its parameters,
 * key_kind and key_flaw. False if it is not one; a key that is not supported is a flaw. */
bool certificate_key_read(struct der key_info, struct certificate *certificate) MUST_USE;

#endif
