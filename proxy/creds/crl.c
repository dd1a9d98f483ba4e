#include "creds/crl.h"

#include "creds/certificate_name.h"

/* 2.5.29.x of RFC 5280 sections 5.2 and 5.3. */
enum {
    EXTENSION_CRL_NUMBER = 20,
    EXTENSION_REASON = 21,
    EXTENSION_DELTA = 27,
    EXTENSION_DISTRIBUTION_POINT = 28,
    EXTENSION_ENTRY_ISSUER = 29,
    EXTENSION_AUTHORITY_KEY_ID = 35,
};

/* --- entries --- */

static bool read_reason(struct der value, int *reason)
{
    enum { ENUMERATED = 0x0a };
    struct der number;
    return der_take(&value, ENUMERATED, &number) && value.size == 0 &&
           der_small_number(number, reason);
}

/* Extensions of an entry say why and when, or that it is of another issuer's certificate. None that
 * is critical is known but the latter. */
static enum crl_flaw read_entry_extensions(struct der extensions, int *reason)
{
    struct certificate_extension extension;
    uint64_t seen = 0;
    while (extensions.size != 0) {
        if (!certificate_extension_take(&extensions, &seen, &extension))
            return CRL_UNREADABLE;
        if (extension.number == EXTENSION_ENTRY_ISSUER)
            return CRL_INDIRECT;
        if (extension.is_critical)
            return CRL_CRITICAL;
        if (extension.number == EXTENSION_REASON && !read_reason(extension.value, reason))
            return CRL_UNREADABLE;
    }
    return CRL_GOOD;
}

/* Takes an entry off. One with the reason removeFromCRL says that the certificate is not revoked
 * any more; it belongs into delta CRLs. */
static enum crl_flaw take_entry(struct der *entries, struct der *serial, bool *is_revoked)
{
    enum { REMOVE_FROM_CRL = 8 };
    struct der entry, extensions;
    int64_t since;
    int reason = 0;
    if (!der_take(entries, DER_SEQUENCE, &entry) || !der_take(&entry, DER_INTEGER, serial) ||
        serial->size == 0 || !certificate_time_take(&entry, &since))
        return CRL_UNREADABLE;
    enum crl_flaw flaw = CRL_GOOD;
    if (der_take(&entry, DER_SEQUENCE, &extensions))
        flaw = read_entry_extensions(extensions, &reason);
    *is_revoked = reason != REMOVE_FROM_CRL;
    return flaw == CRL_GOOD && entry.size != 0 ? CRL_UNREADABLE : flaw;
}

bool crl_next(struct der *entries, struct der *serial)
{
    bool is_revoked = false;
    while (!is_revoked)
        if (entries->size == 0 || take_entry(entries, serial, &is_revoked) != CRL_GOOD)
            return false;
    return true;
}

static enum crl_flaw read_entries(struct crl *crl)
{
    struct der entries = crl->entries, serial;
    while (entries.size != 0) {
        bool is_revoked;
        enum crl_flaw flaw = take_entry(&entries, &serial, &is_revoked);
        if (flaw != CRL_GOOD)
            return flaw;
        crl->revoked += is_revoked;
    }
    return CRL_GOOD;
}

/* --- the whole --- */

static enum crl_flaw read_extensions(struct der tagged, struct crl *crl)
{
    struct certificate_extension extension;
    struct der extensions;
    uint64_t seen = 0;
    if (!der_take(&tagged, DER_SEQUENCE, &extensions) || tagged.size != 0)
        return CRL_UNREADABLE;
    while (extensions.size != 0) {
        if (!certificate_extension_take(&extensions, &seen, &extension))
            return CRL_UNREADABLE;
        switch (extension.number) {
        case EXTENSION_DELTA: return CRL_DELTA;
        case EXTENSION_DISTRIBUTION_POINT: return CRL_PARTIAL;
        case EXTENSION_CRL_NUMBER: break;
        case EXTENSION_AUTHORITY_KEY_ID:
            if (!certificate_key_id_read(extension.value, &crl->authority_key_id))
                return CRL_UNREADABLE;
            break;
        default:
            if (extension.is_critical)
                return CRL_CRITICAL;
        }
    }
    return CRL_GOOD;
}

static bool is_time(struct der from)
{
    return from.size != 0 &&
           (from.bytes[0] == DER_UTC_TIME || from.bytes[0] == DER_GENERALIZED_TIME);
}

/* A version is there only if it is v2, which is 1. */
static bool read_version(struct der *from)
{
    struct der integer;
    int version = 1;
    return from->size == 0 || from->bytes[0] != DER_INTEGER ||
           (der_take(from, DER_INTEGER, &integer) && der_small_number(integer, &version) &&
            version == 1);
}

enum crl_flaw crl_parse(struct der der, struct crl *crl)
{
    struct der from, extensions;
    *crl = (struct crl){.next_update = CRL_NEVER};
    if (!certificate_signed_read(der, &crl->signed_part, &from) || !read_version(&from) ||
        !certificate_signed_take_algorithm(&from, &crl->signed_part) ||
        !der_take(&from, DER_SEQUENCE, &crl->issuer) || !certificate_name_is_whole(crl->issuer) ||
        !certificate_time_take(&from, &crl->this_update) ||
        (is_time(from) && !certificate_time_take(&from, &crl->next_update)))
        return CRL_UNREADABLE;
    enum crl_flaw flaw = CRL_GOOD;
    if (der_take(&from, DER_SEQUENCE, &crl->entries))
        flaw = read_entries(crl);
    if (flaw == CRL_GOOD && der_take(&from, DER_CONTEXT_CONSTRUCTED + 0, &extensions))
        flaw = read_extensions(extensions, crl);
    return flaw == CRL_GOOD && from.size != 0 ? CRL_UNREADABLE : flaw;
}

const char *crl_flaw_text(enum crl_flaw flaw)
{
    switch (flaw) {
    case CRL_GOOD: break;
    case CRL_UNREADABLE: return "it cannot be read as a CRL";
    case CRL_DELTA: return "it is a delta CRL, and only complete ones are taken";
    case CRL_PARTIAL:
        return "it is for some certificates of its CA only (issuingDistributionPoint), and only "
               "complete ones are taken";
    case CRL_INDIRECT:
        return "it has certificates of other CAs than its own (an indirect CRL), and each CA "
               "must have one of its own";
    case CRL_CRITICAL: return "it has a critical extension that is not supported";
    }
    return "it is good";
}
