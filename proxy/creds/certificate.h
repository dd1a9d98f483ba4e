/* One X.509 certificate (RFC 5280), parsed. Pure; whose certificates are trusted is decided in
 * certificate_path.c. */
#ifndef CERTIFICATE_H
#define CERTIFICATE_H

#include "creds/certificate_parts.h"

/* What is wrong with a certificate, see certificate_flaw_text(). */
enum certificate_flaw {
    FLAW_NONE,
    FLAW_UNREADABLE,
    FLAW_VERSION, /* v1 or v2 */
    FLAW_SERIAL,  /* 0, in a device's own */
    FLAW_EXPIRED,
    FLAW_NOT_YET,
    FLAW_NO_ISSUER,
    FLAW_SIGNATURE,
    FLAW_WEAK_SIGNATURE,
    FLAW_UNKNOWN_SIGNATURE,
    FLAW_WEAK_KEY,
    FLAW_UNKNOWN_KEY,
    FLAW_UNKNOWN_CURVE,
    FLAW_NOT_A_CA,
    FLAW_NO_CERT_SIGN,
    FLAW_PATH_LENGTH,
    FLAW_PURPOSE, /* extended key usage */
    FLAW_NO_DIGITAL_SIGNATURE,
    FLAW_CRITICAL_EXTENSION,
    FLAW_NAME_CONSTRAINTS,
    FLAW_REVOKED,
    FLAW_DENIED,      /* by deny_file */
    FLAW_NO_CRL,      /* of its issuer */
    FLAW_CRL_EXPIRED, /* that of its issuer */
    FLAW_CRL_NOT_YET,
    FLAW_TOO_MANY,
    FLAW_NO_MEMORY,
};

enum certificate_key { KEY_UNKNOWN, KEY_RSA, KEY_RSA_PSS, KEY_EC, KEY_ED25519 };

/* Bits of certificate.key_usage (RFC 5280 section 4.2.1.3). */
enum { KEY_USAGE_DIGITAL_SIGNATURE = 0x80, KEY_USAGE_CERT_SIGN = 0x04, KEY_USAGE_CRL_SIGN = 0x02 };

/* Points into the DER it was parsed from, which must live as long. */
struct certificate {
    struct der der; /* all of it */
    struct certificate_signed_part signed_part;
    struct der serial;                /* content of the INTEGER */
    struct der issuer, subject;       /* content of the Name */
    int64_t not_before, not_after;    /* seconds since 1970 */
    struct der public_key_info;       /* SubjectPublicKeyInfo, whole */
    struct der public_key;            /* content of its BIT STRING */
    struct der public_key_parameters; /* of an RSASSA-PSS key; bytes NULL: none */
    /* Extensions; bytes NULL: it has none. */
    struct der subject_key_id, authority_key_id; /* the key identifiers */
    struct der alt_names;                        /* content: GeneralNames */
    struct der name_constraints;                 /* content */
    int version;                                 /* 1 to 3 */
    int path_length_max;                         /* basicConstraints; -1: none */
    uint8_t key_usage;                           /* first byte of the bits */
    uint8_t key_kind;                            /* enum certificate_key */
    uint8_t key_flaw;                            /* enum certificate_flaw */
    bool is_ca;                                  /* basicConstraints */
    bool has_key_usage;
    bool has_extended_key_usage;
    bool is_for_clients, is_for_anything; /* clientAuth; anyExtendedKeyUsage */
    bool has_basic_constraints;
    bool has_unknown_critical;
};

/* False if it is not one certificate and nothing else. */
bool certificate_parse(struct der der, struct certificate *certificate) MUST_USE;

/* Words for an operator, as in "refused: it has expired". */
const char *certificate_flaw_text(enum certificate_flaw flaw);

enum {
    CERTIFICATE_NAME_TEXT_MAX = 104,
    CERTIFICATE_SERIAL_TEXT_MAX = 48,
    CERTIFICATE_DATE_TEXT_MAX = 32,
};

/* Which certificate it is, in short texts. What is too long is cut and ends in "...". */
struct certificate_summary {
    char subject[CERTIFICATE_NAME_TEXT_MAX], issuer[CERTIFICATE_NAME_TEXT_MAX];
    char serial[CERTIFICATE_SERIAL_TEXT_MAX]; /* hexadecimal */
    char not_after[CERTIFICATE_DATE_TEXT_MAX];
};

void certificate_summarise(const struct certificate *certificate,
                           struct certificate_summary *summary);
const char *certificate_date_text(int64_t date, char text[CERTIFICATE_DATE_TEXT_MAX]);

/* Who the holder of the certificate is, in at most `room` bytes; returns how many. Its common name;
 * else the first URI, DNS name or e-mail address among its subjectAltNames, in this order of kinds;
 * else, or if that is too long, "spki-sha256:" and the hash of its public key in hexadecimal, which
 * takes CERTIFICATE_IDENTITY_MIN. */
enum { CERTIFICATE_IDENTITY_MIN = 76 };
size_t certificate_identity(const struct certificate *certificate, uint8_t *identity, size_t room);

#endif
