#include "creds/certificate.h"

#include "creds/certificate_key.h"
#include "creds/certificate_name.h"

/* 2.5.29.x of RFC 5280 section 4.2.1. */
enum {
    EXTENSION_SUBJECT_KEY_ID = 14,
    EXTENSION_KEY_USAGE = 15,
    EXTENSION_ALT_NAMES = 17,
    EXTENSION_BASIC_CONSTRAINTS = 19,
    EXTENSION_NAME_CONSTRAINTS = 30,
    EXTENSION_POLICIES = 32,
    EXTENSION_POLICY_MAPPINGS = 33,
    EXTENSION_AUTHORITY_KEY_ID = 35,
    EXTENSION_EXTENDED_KEY_USAGE = 37,
    EXTENSION_INHIBIT_ANY_POLICY = 54,
};

static bool read_validity(struct der *from, struct certificate *certificate)
{
    struct der validity;
    return der_take(from, DER_SEQUENCE, &validity) &&
           certificate_time_take(&validity, &certificate->not_before) &&
           certificate_time_take(&validity, &certificate->not_after) && validity.size == 0;
}

static bool read_basic_constraints(struct der value, struct certificate *certificate)
{
    struct der sequence, content;
    if (!der_take(&value, DER_SEQUENCE, &sequence) || value.size != 0)
        return false;
    certificate->has_basic_constraints = true;
    if (der_take(&sequence, DER_BOOLEAN, &content))
        certificate->is_ca = content.size == 1 && content.bytes[0] != 0;
    if (der_take(&sequence, DER_INTEGER, &content) &&
        !der_small_number(content, &certificate->path_length_max))
        return false;
    return sequence.size == 0;
}

static bool read_key_usage(struct der value, struct certificate *certificate)
{
    struct der bits;
    if (!der_take(&value, DER_BIT_STRING, &bits) || value.size != 0 || bits.size < 1)
        return false;
    certificate->has_key_usage = true;
    certificate->key_usage = bits.size > 1 ? bits.bytes[1] : 0;
    return true;
}

static bool read_extended_key_usage(struct der value, struct certificate *certificate)
{
    static const uint8_t client_auth[] = {0x2b, 6, 1, 5, 5, 7, 3, 2}, any[] = {0x55, 0x1d, 37, 0};
    struct der purposes, oid;
    if (!der_take(&value, DER_SEQUENCE, &purposes) || value.size != 0 || purposes.size == 0)
        return false;
    certificate->has_extended_key_usage = true;
    while (der_take(&purposes, DER_OID, &oid)) {
        certificate->is_for_clients |=
            der_is_equal(oid, (struct der){client_auth, sizeof(client_auth)});
        certificate->is_for_anything |= der_is_equal(oid, (struct der){any, sizeof(any)});
    }
    return purposes.size == 0;
}

/* Those that need no work of ours: policies, since no path has to have one (the user's initial set
 * is any-policy, none is required; RFC 5280 section 6.1.1). */
static bool is_harmless(int number)
{
    return number == EXTENSION_POLICIES || number == EXTENSION_POLICY_MAPPINGS ||
           number == EXTENSION_INHIBIT_ANY_POLICY;
}

static bool read_extension_value(int number, struct der value, struct certificate *certificate,
                                 bool *is_known)
{
    *is_known = true;
    switch (number) {
    case EXTENSION_SUBJECT_KEY_ID:
        return der_take(&value, DER_OCTET_STRING, &certificate->subject_key_id);
    case EXTENSION_KEY_USAGE: return read_key_usage(value, certificate);
    case EXTENSION_ALT_NAMES:
        return der_take(&value, DER_SEQUENCE, &certificate->alt_names) && value.size == 0;
    case EXTENSION_BASIC_CONSTRAINTS: return read_basic_constraints(value, certificate);
    case EXTENSION_NAME_CONSTRAINTS:
        return der_take(&value, DER_SEQUENCE, &certificate->name_constraints) && value.size == 0;
    case EXTENSION_AUTHORITY_KEY_ID:
        return certificate_key_id_read(value, &certificate->authority_key_id);
    case EXTENSION_EXTENDED_KEY_USAGE: return read_extended_key_usage(value, certificate);
    default: *is_known = is_harmless(number); return true;
    }
}

static bool read_extensions(struct der from, struct certificate *certificate)
{
    struct der extensions;
    uint64_t seen = 0;
    if (!der_take(&from, DER_SEQUENCE, &extensions) || from.size != 0)
        return false;
    while (extensions.size != 0) {
        struct certificate_extension extension;
        bool is_known = false;
        if (!certificate_extension_take(&extensions, &seen, &extension) ||
            (extension.number >= 0 &&
             !read_extension_value(extension.number, extension.value, certificate, &is_known)))
            return false;
        certificate->has_unknown_critical |= extension.is_critical && !is_known;
    }
    return true;
}

static bool read_version(struct der *from, int *version)
{
    struct der tagged, integer;
    *version = 1;
    if (!der_take(from, DER_CONTEXT_CONSTRUCTED + 0, &tagged))
        return true;
    if (!der_take(&tagged, DER_INTEGER, &integer) || !der_small_number(integer, version))
        return false;
    ++*version;
    return *version <= 3 && tagged.size == 0;
}

/* What is signed, but for its outermost tag and length. */
static bool read_signed_part(struct der from, struct certificate *certificate)
{
    struct der_element key_info;
    struct der ignored, extensions;
    if (!read_version(&from, &certificate->version) ||
        !der_take(&from, DER_INTEGER, &certificate->serial) || certificate->serial.size == 0 ||
        !certificate_signed_take_algorithm(&from, &certificate->signed_part) ||
        !der_take(&from, DER_SEQUENCE, &certificate->issuer) ||
        !read_validity(&from, certificate) ||
        !der_take(&from, DER_SEQUENCE, &certificate->subject) || !der_next(&from, &key_info) ||
        key_info.tag != DER_SEQUENCE)
        return false;
    certificate->public_key_info = key_info.whole;
    if (!certificate_name_is_whole(certificate->issuer) ||
        !certificate_name_is_whole(certificate->subject) ||
        !certificate_key_read(key_info.content, certificate))
        return false;
    /* issuerUniqueID, subjectUniqueID */
    for (int i = 1; i <= 2; i++)
        if (from.size != 0 && from.bytes[0] == DER_CONTEXT + i &&
            !der_take(&from, (uint8_t)(DER_CONTEXT + i), &ignored))
            return false;
    if (from.size == 0)
        return true;
    return certificate->version == 3 && der_take(&from, DER_CONTEXT_CONSTRUCTED + 3, &extensions) &&
           from.size == 0 && read_extensions(extensions, certificate);
}

bool certificate_parse(struct der der, struct certificate *certificate)
{
    struct der content;
    *certificate = (struct certificate){.der = der, .path_length_max = -1};
    return certificate_signed_read(der, &certificate->signed_part, &content) &&
           read_signed_part(content, certificate);
}

const char *certificate_flaw_text(enum certificate_flaw flaw)
{
    switch (flaw) {
    case FLAW_NONE: break;
    case FLAW_UNREADABLE: return "it cannot be read as an X.509 certificate";
    case FLAW_VERSION: return "it is an X.509 v1 certificate, and TLS wants v3";
    case FLAW_SERIAL: return "its serial number is 0";
    case FLAW_EXPIRED: return "it has expired";
    case FLAW_NOT_YET: return "it is not valid yet";
    case FLAW_NO_ISSUER: return "its issuer is not in client_ca";
    case FLAW_SIGNATURE: return "its signature is not of its issuer";
    case FLAW_WEAK_SIGNATURE: return "it is signed with MD5 or SHA-1";
    case FLAW_UNKNOWN_SIGNATURE: return "it is signed with an algorithm that is not supported";
    case FLAW_WEAK_KEY: return "its key is too short";
    case FLAW_UNKNOWN_KEY: return "its key is of a kind or size that is not supported";
    case FLAW_UNKNOWN_CURVE:
        return "its key is on a curve that is not supported (P-256, P-384, P-521, Ed25519 are)";
    case FLAW_NOT_A_CA: return "it has signed another certificate and is not a CA";
    case FLAW_NO_CERT_SIGN: return "it has signed another certificate without keyCertSign";
    case FLAW_PATH_LENGTH: return "its path length allows fewer certificates below it";
    case FLAW_PURPOSE: return "its extended key usage does not include clientAuth";
    case FLAW_NO_DIGITAL_SIGNATURE: return "its key usage does not include digitalSignature";
    case FLAW_CRITICAL_EXTENSION: return "it has a critical extension that is not supported";
    case FLAW_NAME_CONSTRAINTS: return "the name constraints of its issuers forbid its name";
    case FLAW_REVOKED: return "it has been revoked";
    case FLAW_DENIED: return "it is in deny_file";
    case FLAW_NO_CRL: return "crl_file has no CRL of the CA that issued it";
    case FLAW_CRL_EXPIRED: return "the CRL of the CA that issued it has expired";
    case FLAW_CRL_NOT_YET: return "the CRL of the CA that issued it is not valid yet";
    case FLAW_TOO_MANY: return "too many certificates had to be tried";
    case FLAW_NO_MEMORY: return "no memory is left to look at it";
    }
    return "it is good";
}
