/* What a session keeps of the credential that its device has shown: digests, so that it can be told
 * whether a changed psk_file or a CRL concerns it. The same credential has the same digests in
 * every listener and generation. Pure; any thread.
 *
 * A digest of a key would let a weak key be guessed by whoever reads it. It lies where keys lie:
 * those of the session, or, while the handshake runs, in the library's object this very one. It
 * leaves the process only in what the gate encrypts. So it tells nobody anything who cannot read
 * the keys themselves, and is wiped like them. */
#ifndef CREDENTIAL_H
#define CREDENTIAL_H

#include "count/counters.h"
#include "creds/certificate_path.h"

enum {
    /* Of SHA-256. Whoever finds two of his own with one digest, after 2^64 trials, gains nothing;
     * to meet another's takes 2^128. */
    CREDENTIAL_DIGEST_BYTES = 16,
    CREDENTIAL_ISSUER_BYTES = 32,
    /* A certificate's: its public key, then each certificate of the path. A PSK has one. */
    CREDENTIAL_DIGESTS_MAX = 1 + CERTIFICATE_PATH_MAX,
};

struct credential_digests {
    uint8_t count; /* 0 = no credential */
    uint8_t at[CREDENTIAL_DIGESTS_MAX][CREDENTIAL_DIGEST_BYTES];
};

/* A credential as a session or a ticket keeps it; borrowed. */
struct credential_record {
    enum credential kind;
    const uint8_t *identity;
    size_t identity_size;
    const uint8_t *digests; /* digest_count of them, each of CREDENTIAL_DIGEST_BYTES */
    size_t digest_count;
};

/* All of these: false if the library fails, for want of memory. */

/* Of an identity with its key. */
bool credential_digest_psk(struct der identity, struct der key,
                           uint8_t digest[CREDENTIAL_DIGEST_BYTES]) MUST_USE;
/* Of a certificate as a CRL names it (RFC 5280 section 5.1): by its issuer, which is a Name's
 * content, and its serial, the content of an INTEGER. Names that are equal make the same digest,
 * whatever types of strings they are written in. */
bool credential_digest_certificate(struct der issuer, struct der serial,
                                   uint8_t digest[CREDENTIAL_DIGEST_BYTES]) MUST_USE;
/* The same in two steps, for many certificates of one issuer. */
bool credential_digest_issuer(struct der issuer, uint8_t digest[CREDENTIAL_ISSUER_BYTES]) MUST_USE;
bool credential_digest_serial(const uint8_t issuer[CREDENTIAL_ISSUER_BYTES], struct der serial,
                              uint8_t digest[CREDENTIAL_DIGEST_BYTES]) MUST_USE;
/* Of a SubjectPublicKeyInfo, whole: the first bytes of its SHA-256, as certificate_identity() and
 * other programs tell it. */
bool credential_digest_public_key(struct der public_key_info,
                                  uint8_t digest[CREDENTIAL_DIGEST_BYTES]) MUST_USE;

/* The device's public key, its own certificate, and so on to the trusted one. */
bool credential_digests_of_path(const struct certificate_path *path,
                                struct credential_digests *digests) MUST_USE;

#endif
