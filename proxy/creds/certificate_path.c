#include "creds/certificate_path.h"

#include <stdlib.h>
#include <string.h>

#include "creds/certificate_constraints.h"
#include "creds/certificate_name.h"
#include "creds/certificate_signature.h"

/* Of the search, each of which costs next to nothing. */
enum { STEPS_MAX = 1000 };

/* How far a path got that was not good: of several, the flaw of the one that got farthest is told,
 * and among these of the first. Below BAD_SIGNATURE: the certificates of a path whose last issuer
 * is missing. */
enum { BAD_SIGNATURE = CERTIFICATE_PATH_MAX + 1, BAD_STEP, BAD_PATH };

/* A signature that was verified. */
struct verified {
    const struct certificate *certificate, *issuer;
    bool is_good;
};

/* The search of one device's path. */
struct search {
    const struct certificate_request *request;
    struct certificate shown[CERTIFICATE_SHOWN_MAX];
    size_t shown_count;
    /* By what they say, for each of them: which others may have issued it, and whether one that is
     * trusted may have. */
    uint16_t issuers[CERTIFICATE_SHOWN_MAX];
    bool is_near[CERTIFICATE_SHOWN_MAX];
    struct certificate_path path;
    bool is_in_path[CERTIFICATE_SHOWN_MAX];
    struct verified verified[CERTIFICATE_VERIFICATIONS_MAX];
    int verifications, steps;
    int progress;
    enum certificate_flaw flaw;
    const struct certificate *culprit;
};

static void note(struct search *search, int progress, enum certificate_flaw flaw,
                 const struct certificate *culprit)
{
    if (progress <= search->progress)
        return;
    search->progress = progress;
    search->flaw = flaw;
    search->culprit = culprit;
}

/* --- one certificate --- */

/* What every certificate of a path must fulfil, wherever it stands. */
static enum certificate_flaw check_any(const struct certificate *certificate, int64_t now)
{
    if (now > certificate->not_after)
        return FLAW_EXPIRED;
    if (now < certificate->not_before)
        return FLAW_NOT_YET;
    if (certificate->has_unknown_critical)
        return FLAW_CRITICAL_EXTENSION;
    return (enum certificate_flaw)certificate->key_flaw;
}

static bool is_zero(struct der serial)
{
    for (size_t i = 0; i < serial.size; i++)
        if (serial.bytes[i] != 0)
            return false;
    return true;
}

/* RFC 8446 section 4.4.2.3 has more for the certificate that a device signs the handshake with. */
static enum certificate_flaw check_own(const struct certificate *certificate, int64_t now)
{
    if (certificate->version != 3)
        return FLAW_VERSION;
    if (is_zero(certificate->serial))
        return FLAW_SERIAL;
    if (certificate->has_key_usage && (certificate->key_usage & KEY_USAGE_DIGITAL_SIGNATURE) == 0)
        return FLAW_NO_DIGITAL_SIGNATURE;
    if (certificate->has_extended_key_usage && !certificate->is_for_clients &&
        !certificate->is_for_anything)
        return FLAW_PURPOSE;
    return check_any(certificate, now);
}

static bool is_self_issued(const struct certificate *certificate)
{
    return certificate_name_is_equal(certificate->subject, certificate->issuer);
}

/* RFC 5280 section 6.1.4 (k), (n): it may sign others. Purposes of a CA bound those below it, as to
 * OpenSSL and GnuTLS, for whom "any" is not enough there. */
static enum certificate_flaw check_issuer(const struct certificate *certificate, int64_t now)
{
    if (!certificate->is_ca)
        return FLAW_NOT_A_CA;
    if (certificate->has_key_usage && (certificate->key_usage & KEY_USAGE_CERT_SIGN) == 0)
        return FLAW_NO_CERT_SIGN;
    if (certificate->has_extended_key_usage && !certificate->is_for_clients)
        return FLAW_PURPOSE;
    return check_any(certificate, now);
}

/* Could be, by what they say. Key identifiers that are both there and differ say no, as to OpenSSL
 * and GnuTLS. */
static bool may_have_issued(const struct certificate *issuer, const struct certificate *certificate)
{
    return certificate_name_is_equal(issuer->subject, certificate->issuer) &&
           (issuer->subject_key_id.bytes == NULL || certificate->authority_key_id.bytes == NULL ||
            der_is_equal(issuer->subject_key_id, certificate->authority_key_id));
}

/* --- the path as a whole --- */

/* RFC 5280 section 6.1.4 (l), (m): certificates between the issuer and the device's own, those that
 * are issued to their own name not counted. */
static bool is_path_length_kept(const struct certificate_path *path,
                                const struct certificate **culprit)
{
    int below = 0;
    for (size_t i = 1; i < path->count; i++) {
        const struct certificate *issuer = path->certificates[i];
        *culprit = issuer;
        if (issuer->path_length_max >= 0 && below > issuer->path_length_max)
            return false;
        below += !is_self_issued(issuer);
    }
    return true;
}

/* RFC 5280 section 6.1.3 (b), (c). */
static bool are_constraints_kept(const struct certificate_path *path,
                                 const struct certificate **culprit)
{
    for (size_t i = 1; i < path->count; i++) {
        if (path->certificates[i]->name_constraints.bytes == NULL)
            continue;
        for (size_t below = 0; below < i; below++) {
            *culprit = path->certificates[below];
            if ((below == 0 || !is_self_issued(*culprit)) &&
                !certificate_constraints_allow(path->certificates[i], *culprit, below == 0))
                return false;
        }
    }
    return true;
}

static bool is_path_good(struct search *search)
{
    const struct certificate_request *request = search->request;
    const struct certificate *culprit = NULL;
    enum certificate_flaw flaw = FLAW_NONE;
    size_t at = 0;
    if (!is_path_length_kept(&search->path, &culprit)) {
        flaw = FLAW_PATH_LENGTH;
    } else if (!are_constraints_kept(&search->path, &culprit)) {
        flaw = FLAW_NAME_CONSTRAINTS;
    } else if (request->also != NULL) {
        flaw = request->also(&search->path, &at, request->also_context);
        culprit = search->path.certificates[at];
    }
    if (flaw == FLAW_NONE)
        return true;
    note(search, BAD_PATH, flaw, culprit);
    return false;
}

/* --- signatures --- */

static const struct verified *find_verified(const struct search *search,
                                            const struct certificate *certificate,
                                            const struct certificate *issuer)
{
    for (int i = 0; i < search->verifications; i++)
        if (search->verified[i].certificate == certificate && search->verified[i].issuer == issuer)
            return &search->verified[i];
    return NULL;
}

static bool signed_part_by(struct search *search, const struct certificate *certificate,
                           const struct certificate *issuer)
{
    const struct verified *before = find_verified(search, certificate, issuer);
    if (before == NULL && search->verifications == CERTIFICATE_VERIFICATIONS_MAX) {
        note(search, BAD_PATH, FLAW_TOO_MANY, certificate);
        return false;
    }
    if (before == NULL) {
        search->verified[search->verifications] = (struct verified){
            certificate, issuer, certificate_signature_is_of(&certificate->signed_part, issuer)};
        before = &search->verified[search->verifications++];
    }
    /* The key may be of a namesake, so this says less than other flaws. */
    if (!before->is_good)
        note(search, BAD_SIGNATURE, FLAW_SIGNATURE, certificate);
    return before->is_good;
}

/* From the trusted certificate down: so no signature is verified with the key of a stranger. */
static bool are_signatures_good(struct search *search)
{
    for (size_t i = search->path.count - 1; i > 0; i--)
        if (!signed_part_by(search, search->path.certificates[i - 1], search->path.certificates[i]))
            return false;
    return true;
}

/* --- the search --- */

/* Makes the candidate the last of the path, if it may sign. Whether it has is looked at when the
 * path has reached a certificate that is trusted. */
static bool step(struct search *search, const struct certificate *candidate)
{
    struct certificate_path *path = &search->path;
    const struct certificate *last = path->certificates[path->count - 1];
    const struct verified *before = find_verified(search, last, candidate);
    if (path->count == CERTIFICATE_PATH_MAX || search->steps == STEPS_MAX) {
        note(search, BAD_PATH, FLAW_TOO_MANY, last);
        return false;
    }
    search->steps++;
    enum certificate_flaw flaw = check_issuer(candidate, search->request->now);
    if (flaw != FLAW_NONE) {
        note(search, BAD_STEP, flaw, candidate);
        return false;
    }
    if (before != NULL && !before->is_good)
        return false;
    path->certificates[path->count++] = candidate;
    return true;
}

static bool try_anchors(struct search *search, const struct certificate *last)
{
    const struct certificate_anchors *anchors = search->request->anchors;
    for (size_t i = 0; i < anchors->count; i++) {
        const struct certificate *anchor = &anchors->certificates[i];
        if (!may_have_issued(anchor, last) || !step(search, anchor))
            continue;
        if (are_signatures_good(search) && is_path_good(search))
            return true;
        search->path.count--;
    }
    return false;
}

static bool go_on(struct search *search, size_t last);

/* Those first from which a trusted one is near, then the others. */
static bool try_shown(struct search *search, size_t last, bool is_near)
{
    for (size_t i = 1; i < search->shown_count; i++) {
        if (search->is_near[i] != is_near || (search->issuers[last] >> i & 1) == 0 ||
            search->is_in_path[i] || !step(search, &search->shown[i]))
            continue;
        search->is_in_path[i] = true;
        if (go_on(search, i))
            return true;
        search->is_in_path[i] = false;
        search->path.count--;
    }
    return false;
}

/* Goes on from the last certificate of the path. A certificate is in it once at most, which ends
 * the recursion; steps and verifications are counted, which ends the search. */
static bool go_on(struct search *search, size_t last)
{
    const struct certificate *certificate = &search->shown[last];
    enum certificate_flaw flaw = certificate_signature_algorithm(&certificate->signed_part);
    if (flaw != FLAW_NONE) {
        note(search, BAD_STEP, flaw, certificate);
        return false;
    }
    note(search, (int)search->path.count, FLAW_NO_ISSUER, certificate);
    return (search->is_near[last] && try_anchors(search, certificate)) ||
           try_shown(search, last, true) || try_shown(search, last, false);
}

static void find_issuers(struct search *search)
{
    const struct certificate_anchors *anchors = search->request->anchors;
    for (size_t i = 0; i < search->shown_count; i++) {
        for (size_t issuer = 1; issuer < search->shown_count; issuer++)
            if (issuer != i && may_have_issued(&search->shown[issuer], &search->shown[i]))
                search->issuers[i] |= (uint16_t)(1 << issuer);
        for (size_t anchor = 0; anchor < anchors->count && !search->is_near[i]; anchor++)
            search->is_near[i] = may_have_issued(&anchors->certificates[anchor], &search->shown[i]);
    }
}

/* Of a certificate that is shown twice one counts; so does one that cannot be read, or is not v3,
 * not at all, since it may be one that is not needed. */
static void read_others(struct search *search)
{
    const struct certificate_request *request = search->request;
    for (size_t i = 1; i < request->shown_count && i < CERTIFICATE_SHOWN_MAX; i++) {
        bool is_double = false;
        for (size_t before = 0; before < search->shown_count; before++)
            is_double |= der_is_equal(search->shown[before].der, request->shown[i]);
        if (!is_double && certificate_parse(request->shown[i], &search->shown[search->shown_count]))
            search->shown_count++;
    }
}

/* A device's own certificate may be among the trusted ones: then it is all of the path. */
static bool is_trusted_itself(const struct search *search)
{
    const struct certificate_anchors *anchors = search->request->anchors;
    for (size_t i = 0; i < anchors->count; i++)
        if (der_is_equal(anchors->certificates[i].der, search->shown[0].der))
            return true;
    return false;
}

static bool find(struct search *search)
{
    enum certificate_flaw flaw = check_own(&search->shown[0], search->request->now);
    if (flaw != FLAW_NONE) {
        note(search, BAD_PATH, flaw, &search->shown[0]);
        return false;
    }
    search->path = (struct certificate_path){{&search->shown[0]}, 1};
    read_others(search);
    find_issuers(search);
    return is_trusted_itself(search) ? is_path_good(search) : go_on(search, 0);
}

static int64_t earliest_end(const struct certificate_path *path)
{
    int64_t end = path->certificates[0]->not_after;
    for (size_t i = 1; i < path->count; i++)
        if (path->certificates[i]->not_after < end)
            end = path->certificates[i]->not_after;
    return end;
}

void certificate_path_check(const struct certificate_request *request,
                            struct certificate_verdict *verdict)
{
    *verdict = (struct certificate_verdict){.flaw = FLAW_UNREADABLE};
    struct search *search = calloc(1, sizeof(*search));
    if (search == NULL) {
        verdict->flaw = FLAW_NO_MEMORY;
        return;
    }
    search->request = request;
    if (request->shown_count > 0 && certificate_parse(request->shown[0], &search->shown[0])) {
        search->shown_count = 1;
        verdict->is_read = true;
        verdict->own = search->shown[0];
        if (find(search)) {
            verdict->flaw = FLAW_NONE;
            verdict->not_after = earliest_end(&search->path);
        } else {
            verdict->flaw = search->flaw;
            verdict->refused = *search->culprit;
        }
        verdict->verifications = search->verifications;
    }
    free(search);
}

uint8_t certificate_flaw_alert(enum certificate_flaw flaw)
{
    enum {
        BAD_CERTIFICATE = 42,
        UNSUPPORTED_CERTIFICATE = 43,
        CERTIFICATE_REVOKED = 44,
        CERTIFICATE_EXPIRED = 45,
        CERTIFICATE_UNKNOWN = 46,
        UNKNOWN_CA = 48,
        ACCESS_DENIED = 49,
        INTERNAL_ERROR = 80,
    };
    switch (flaw) {
    case FLAW_EXPIRED:
    case FLAW_NOT_YET: return CERTIFICATE_EXPIRED;
    case FLAW_NO_ISSUER:
    case FLAW_NOT_A_CA:
    case FLAW_NO_CERT_SIGN:
    case FLAW_PATH_LENGTH: return UNKNOWN_CA;
    case FLAW_VERSION:
    case FLAW_UNKNOWN_SIGNATURE:
    case FLAW_UNKNOWN_KEY:
    case FLAW_UNKNOWN_CURVE:
    case FLAW_PURPOSE:
    case FLAW_NO_DIGITAL_SIGNATURE:
    case FLAW_CRITICAL_EXTENSION: return UNSUPPORTED_CERTIFICATE;
    case FLAW_REVOKED: return CERTIFICATE_REVOKED;
    case FLAW_DENIED: return ACCESS_DENIED;
    case FLAW_NO_CRL:
    case FLAW_CRL_EXPIRED:
    case FLAW_CRL_NOT_YET: return CERTIFICATE_UNKNOWN;
    case FLAW_NO_MEMORY: return INTERNAL_ERROR;
    default: return BAD_CERTIFICATE;
    }
}

/* --- the trusted certificates --- */

/* Who names a CA in client_ca vouches for it. So an old one will do that cannot say it: of X.509
 * v1, signed by itself, or with keyCertSign and nothing else. */
static bool is_old_ca(const struct certificate *certificate)
{
    if (certificate->has_basic_constraints)
        return false;
    return certificate->has_key_usage ? (certificate->key_usage & KEY_USAGE_CERT_SIGN) != 0
                                      : certificate->version < 3 && is_self_issued(certificate);
}

enum anchor_added certificate_anchors_add(struct certificate_anchors *anchors, struct der der)
{
    struct certificate certificate;
    if (!certificate_parse(der, &certificate))
        return ANCHOR_UNREADABLE;
    if (!certificate.is_ca && !is_old_ca(&certificate))
        return ANCHOR_NOT_A_CA;
    for (size_t i = 0; i < anchors->count; i++)
        if (der_is_equal(anchors->certificates[i].der, der))
            return ANCHOR_KNOWN;
    struct certificate *more =
        reallocarray(anchors->certificates, anchors->count + 1, sizeof(*more));
    if (more == NULL)
        return ANCHOR_NO_MEMORY;
    anchors->certificates = more;
    uint8_t *copy = malloc(der.size);
    if (copy == NULL)
        return ANCHOR_NO_MEMORY;
    memcpy(copy, der.bytes, der.size);
    struct certificate *added = &anchors->certificates[anchors->count];
    /* Of the same bytes, so it can be parsed, too. */
    if (!certificate_parse((struct der){copy, der.size}, added)) {
        free(copy);
        return ANCHOR_UNREADABLE;
    }
    added->is_ca = true;
    anchors->count++;
    return ANCHOR_ADDED;
}

int64_t certificate_anchors_not_after(const struct certificate_anchors *anchors)
{
    int64_t not_after = anchors->certificates[0].not_after;
    for (size_t i = 1; i < anchors->count; i++)
        if (anchors->certificates[i].not_after < not_after)
            not_after = anchors->certificates[i].not_after;
    return not_after;
}

void certificate_anchors_deinit(struct certificate_anchors *anchors)
{
    for (size_t i = 0; i < anchors->count; i++)
        free((uint8_t *)anchors->certificates[i].der.bytes);
    free(anchors->certificates);
    *anchors = (struct certificate_anchors){0};
}
