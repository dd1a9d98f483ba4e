/* What certificates and CRLs are made of alike (RFC 5280 sections 4.1 and 5.1). Pure. */
#ifndef CERTIFICATE_PARTS_H
#define CERTIFICATE_PARTS_H

#include "base/der.h"

/* What an issuer has signed, and how. Points into the DER that it was read from. */
struct certificate_signed_part {
    struct der whole;      /* what is signed */
    struct der algorithm;  /* of the signature: content of its AlgorithmIdentifier */
    struct der oid;        /* of the algorithm */
    struct der parameters; /* of the algorithm, whole; bytes NULL: none */
    struct der signature;
};

/* One certificate or CRL and nothing else. `content` is that of the signed part. */
bool certificate_signed_read(struct der der, struct certificate_signed_part *signed_part,
                             struct der *content) MUST_USE;

/* The algorithm as it stands within the signed part, which is the one that counts (RFC 5280
 * section 4.1.1.2): takes it off `from`. False if the one outside is another. */
bool certificate_signed_take_algorithm(struct der *from,
                                       struct certificate_signed_part *signed_part) MUST_USE;

/* Takes a date off `from`, in one of the forms that RFC 5280 section 4.1.2.5 allows: seconds since
 * 1970. */
bool certificate_time_take(struct der *from, int64_t *time) MUST_USE;

struct certificate_extension {
    struct der oid, value;
    int number; /* x of 2.5.29.x, if it is one of these and x is below 64; else -1 */
    bool is_critical;
};

/* Takes the next extension off the content of an Extensions. `seen` has a bit for each of 2.5.29.x,
 * at first 0: none may stand there twice. False at the end too. */
bool certificate_extension_take(struct der *from, uint64_t *seen,
                                struct certificate_extension *extension) MUST_USE;

/* The key identifier of an authorityKeyIdentifier's value; bytes NULL: it has none. */
bool certificate_key_id_read(struct der value, struct der *key_id) MUST_USE;

#endif
