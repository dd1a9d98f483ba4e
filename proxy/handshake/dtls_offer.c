/* What a hello offers and what a listener has: why they do not fit. The library's errors do not
 * tell: one and the same stands for a hello that lacks an extension and for one with nothing in
 * common. */
#include "handshake/dtls.h"

static bool has_common_suite(const struct creds *creds, const struct hello_offer *offer,
                             bool is_1_3)
{
    uint16_t count = offer->suite_total;
    for (uint16_t i = 0; i < count && i < HELLO_OFFER_SUITES; i++) {
        bool is_of_1_3 = offer->suites[i] >> 8 == 0x13;
        if (is_of_1_3 == is_1_3 && creds_has_suite(creds, offer->suites[i]))
            return true;
    }
    return count > HELLO_OFFER_SUITES; /* those were not kept */
}

static bool has_common_group(const struct hello_offer *offer, bool is_1_3)
{
    uint16_t count = offer->groups.total;
    for (uint16_t i = 0; i < count && i < HELLO_OFFER_OTHERS; i++)
        if (creds_has_group(is_1_3, offer->groups.at[i]))
            return true;
    return count > HELLO_OFFER_OTHERS;
}

/* RFC 8446 section 9.2: what a hello of 1.3 must have; all of it, unless it has a PSK. */
static const char *find_missing(const struct hello_offer *offer)
{
    if (offer->is_cut)
        return NULL;
    if (offer->groups.total == 0 && (offer->has_key_share || !offer->has_psk))
        return "it lacks supported_groups (RFC 8446 section 9.2)";
    if (!offer->has_key_share && (offer->groups.total != 0 || !offer->has_psk))
        return "it lacks key_share (RFC 8446 section 9.2)";
    if (offer->signatures.total == 0 && !offer->has_psk)
        return "it lacks signature_algorithms (RFC 8446 section 9.2)";
    return NULL;
}

static const char *find_mismatch(const struct creds *creds, const struct hello_offer *offer,
                                 bool is_1_3)
{
    if (!has_common_suite(creds, offer, is_1_3))
        return "no cipher suite in common";
    /* Without a list a device of 1.2 takes any (RFC 8422 section 4). */
    if ((is_1_3 || offer->groups.total != 0) && !has_common_group(offer, is_1_3))
        return "no group in common";
    if (is_1_3 && offer->has_psk_modes && offer->has_psk && !offer->has_psk_dhe)
        return "it wants its PSK without (EC)DHE (psk_ke)";
    return NULL;
}

bool dtls_offer_find_fault(const struct listener *listener, const struct hello_offer *offer,
                           bool is_1_3, enum handshake_result *result, const char **detail)
{
    if (!offer->is_read)
        return false;
    const char *missing = is_1_3 ? find_missing(offer) : NULL;
    const char *mismatch = find_mismatch(listener->creds, offer, is_1_3);
    if (missing != NULL) {
        *result = HANDSHAKE_protocol_error;
        *detail = missing;
    } else if (mismatch != NULL) {
        *result = HANDSHAKE_no_common_suite;
        *detail = mismatch;
    }
    return missing != NULL || mismatch != NULL;
}

const char *dtls_offer_doubt(const struct hello_offer *offer)
{
    return offer != NULL && offer->suite_total > HELLO_OFFER_SUITES
               ? "no cipher suite in common, or no signature algorithm"
               : "no signature algorithm in common, or none for the key of the certificate";
}
