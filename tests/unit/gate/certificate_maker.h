/* Makes certificates and CRLs of any shape for tests: P-256 keys, which the maker numbers, and
 * whatever is asked for in them, right or wrong. */
#ifndef CERTIFICATE_MAKER_H
#define CERTIFICATE_MAKER_H

#include "base/der.h"

enum { MAKER_KEYS = 12, MADE_MAX = 2048 };

/* What a certificate is to say. What is zero is as usual: a good device certificate of v3. */
struct recipe {
    const char *subject, *issuer; /* common names; "" = an empty name; "O=..." an organisation */
    int key, signer;              /* numbers of keys */
    bool is_ca;
    int path_length;         /* plus one; 0 = none */
    bool has_no_constraints; /* no basicConstraints */
    int key_usage;           /* first byte of its bits; 0 = none, -1 = an empty one */
    const char *purpose;     /* last byte of id-kp, e.g. "\2" for clientAuth; NULL = none */
    int version;             /* 0 = 3; those before have no extensions */
    const char *serial;      /* bytes; NULL = 1 */
    int serial_size;
    int64_t not_before, not_after;    /* 0 = year 2020, year 2040 */
    const char *alt_name;             /* tag and text, e.g. "\x82name" for DNS; NULL = none */
    const char *permitted, *excluded; /* one subtree each, written like alt_name; NULL = none */
    int own_id, signer_id;            /* key identifiers; 0 = none */
    bool has_unknown_critical, has_unknown;
    bool is_sha1;           /* the algorithm that it says it was signed with */
    bool has_foreign_curve; /* secp256k1 by its parameters */
    bool is_forged;         /* signed by some other key */
};

struct made {
    uint8_t bytes[MADE_MAX];
    size_t size;
};

/* cmocka's set-up and tear-down of the group: the keys. */
int certificate_maker_begin(void **state);
int certificate_maker_end(void **state);

struct made certificate_make(const struct recipe *recipe);

/* What a CRL is to say. What is zero is as usual: a good one of v2 without entries. */
struct crl_recipe {
    const char *issuer; /* as in a recipe */
    int signer;
    const char *serials[4]; /* one byte each; NULL = no more */
    int reason;             /* of each entry; 0 = none */
    int entry_extension;    /* another of each entry, by its number; 0 = none */
    bool is_entry_critical;
    int extensions[2];                /* of the CRL, by their numbers; 0 = none */
    bool is_critical;                 /* these are */
    int signer_id;                    /* key identifier; 0 = none */
    int version;                      /* 0 = 2; 1 has no extensions */
    int64_t this_update, next_update; /* 0 = year 2020, year 2040; the latter -1 = none */
    bool is_forged, is_sha1;          /* as in a recipe */
};

struct made crl_make(const struct crl_recipe *recipe);

/* As a PEM file has it; to be freed by the caller. */
char *made_as_pem(const struct made *made, bool is_crl);

static inline struct der der_of(const struct made *made)
{
    return (struct der){made->bytes, made->size};
}

#endif
