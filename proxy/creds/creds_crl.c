#include "creds/creds_crl.h"

#include <time.h>

#include "creds/certificate_name.h"
#include "creds/certificate_signature.h"
#include "creds/pem_file.h"

/* A load in progress. */
struct reading {
    struct crl_set *set;
    const struct certificate_anchors *trusted;
    struct certificate_anchors between; /* certificates of CAs that stand beside CRLs */
    const char *where;
    struct problems *problems;
};

/* Key usage must allow it, if there is one (RFC 5280 section 6.3.3 (f)). */
static bool may_sign_crls(const struct certificate *ca)
{
    return !ca->has_key_usage || (ca->key_usage & KEY_USAGE_CRL_SIGN) != 0;
}

/* By what they say. */
static bool may_be_of(const struct crl *crl, const struct certificate *ca)
{
    return certificate_name_is_equal(crl->issuer, ca->subject) &&
           (crl->authority_key_id.bytes == NULL || ca->subject_key_id.bytes == NULL ||
            der_is_equal(crl->authority_key_id, ca->subject_key_id));
}

/* What was found out about the CA of a CRL. */
struct search {
    const struct certificate *named;  /* one that it may be of, or NULL */
    const struct certificate *signer; /* the one that has signed it, or NULL */
};

static void find_signer(const struct certificate_anchors *among, const struct crl *crl,
                        struct search *search)
{
    for (size_t i = 0; i < among->count && search->signer == NULL; i++) {
        const struct certificate *ca = &among->certificates[i];
        if (!may_be_of(crl, ca))
            continue;
        search->named = ca;
        if (may_sign_crls(ca) && certificate_signature_is_of(&crl->signed_part, ca))
            search->signer = ca;
    }
}

/* Finds who has signed a CRL that can be read. Why it is not taken, or NULL. */
static const char *verify(const struct reading *reading, const struct crl *crl,
                          struct search *search)
{
    enum certificate_flaw flaw = certificate_signature_algorithm(&crl->signed_part);
    if (flaw != FLAW_NONE)
        return certificate_flaw_text(flaw);
    find_signer(reading->trusted, crl, search);
    if (search->signer == NULL)
        find_signer(&reading->between, crl, search);
    if (search->signer != NULL || search->named == NULL)
        return NULL;
    return may_sign_crls(search->named) ? "its signature is not of the CA that it names"
                                        : "the key usage of its CA does not include cRLSign";
}

static void check_dates(const struct pem_file *pem, size_t number, const struct crl *crl)
{
    int64_t now = (int64_t)time(NULL);
    char text[CERTIFICATE_DATE_TEXT_MAX];
    const char *effect = "devices that need it are refused";
    if (now < crl->this_update)
        problems_warning(pem->problems, "%s: CRL %zu is not valid before %s; %s until then",
                         pem->where, number, certificate_date_text(crl->this_update, text), effect);
    else if (crl->next_update == CRL_NEVER)
        problems_warning(pem->problems,
                         "%s: CRL %zu does not say when the next one is due, so nobody will "
                         "notice if it gets old",
                         pem->where, number);
    else if (now > crl->next_update)
        problems_warning(pem->problems,
                         "%s: CRL %zu expired on %s; %s; put the CA's new "
                         "one in its place",
                         pem->where, number, certificate_date_text(crl->next_update, text), effect);
}

static void warn_of_stranger(const struct pem_file *pem, size_t number, const struct crl *crl)
{
    char name[CERTIFICATE_NAME_TEXT_MAX];
    certificate_name_text(crl->issuer, name, sizeof(name));
    problems_warning(pem->problems,
                     "%s: CRL %zu is not used: its CA, %s, is not in client_ca; if devices "
                     "show the certificate of this CA themselves, put it into %s, too",
                     pem->where, number, name, pem->path);
}

/* Why it was not added, or NULL. */
static const char *add(const struct reading *reading, const struct pem_file *pem, size_t number,
                       struct der der)
{
    struct crl crl;
    struct search search = {0};
    enum crl_flaw flaw = crl_parse(der, &crl);
    if (flaw != CRL_GOOD)
        return crl_flaw_text(flaw);
    const char *why = verify(reading, &crl, &search);
    if (why != NULL)
        return why;
    if (search.named == NULL) {
        warn_of_stranger(pem, number, &crl);
        return NULL;
    }
    enum crl_added added = crl_set_add(reading->set, &crl, search.signer);
    if (added == CRL_NO_MEMORY)
        return "no memory is left";
    if (added != CRL_OLDER)
        check_dates(pem, number, &crl);
    return NULL;
}

static void read_crls(const struct reading *reading, const struct pem_file *pem)
{
    struct pem_block block = {.kind = PEM_CRL};
    while (pem_file_next(pem, &block)) {
        const char *why = pem_block_decode(&block) == 0 ? add(reading, pem, block.number, block.der)
                                                        : crl_flaw_text(CRL_UNREADABLE);
        if (why != NULL)
            problems_error(pem->problems, "%s: CRL %zu cannot be used: %s", pem->where,
                           block.number, why);
    }
    pem_block_deinit(&block);
    if (block.number != 0 || pem_file_contains(pem, PEM_CERTIFICATE_BEGIN))
        return;
    if (pem->text.bytes[0] == DER_SEQUENCE)
        problems_error(
            pem->problems,
            "%s: holds no PEM CRL; if it is one in DER, run: openssl crl -inform DER -in "
            "%s -out FILE",
            pem->where, pem->path);
    else
        problems_error(pem->problems, "%s: holds no PEM CRL; expected \"" PEM_CRL_BEGIN "\"",
                       pem->where);
}

/* Certificates that are none of a CA are of no use here, and harm nobody. */
static void read_certificates(struct reading *reading, const struct pem_file *pem)
{
    struct pem_block block = {.kind = PEM_CERTIFICATE};
    while (pem_file_next(pem, &block)) {
        enum anchor_added added = ANCHOR_UNREADABLE;
        if (pem_block_decode(&block) == 0)
            added = certificate_anchors_add(&reading->between, block.der);
        if (added == ANCHOR_UNREADABLE || added == ANCHOR_NO_MEMORY)
            problems_error(pem->problems, "%s: certificate %zu cannot be used: %s", pem->where,
                           block.number,
                           added == ANCHOR_NO_MEMORY ? "no memory is left"
                                                     : certificate_flaw_text(FLAW_UNREADABLE));
    }
    pem_block_deinit(&block);
}

/* A CA nothing is known of would let revoked devices in, or none. */
static void check_missing(const struct reading *reading)
{
    for (size_t i = 0; i < reading->trusted->count; i++) {
        const struct certificate *ca = &reading->trusted->certificates[i];
        char name[CERTIFICATE_NAME_TEXT_MAX];
        if (crl_set_find(reading->set, ca) != NULL)
            continue;
        certificate_name_text(ca->subject, name, sizeof(name));
        problems_error(reading->problems,
                       "%s: there is no CRL of %s, a CA of client_ca%s; every CA must have one, if "
                       "only an empty one",
                       reading->where, name,
                       may_sign_crls(ca) ? "" : " whose key usage does not include cRLSign");
    }
}

/* The place of each file, if there are several. */
static const char *where_is(const struct reading *reading, const struct config_paths *paths,
                            uint32_t file, char text[PROBLEM_TEXT_MAX])
{
    if (paths->count == 1)
        return reading->where;
    snprintf(text, PROBLEM_TEXT_MAX, "%s: %s", reading->where, paths->at[file]);
    return text;
}

void creds_crl_load(struct crl_set *set, const struct certificate_anchors *trusted,
                    const struct config_paths *paths, const char *where, struct problems *problems)
{
    struct reading reading = {.set = set, .trusted = trusted, .where = where, .problems = problems};
    struct pem_file files[CONFIG_PATHS_MAX] = {0};
    char wheres[CONFIG_PATHS_MAX][PROBLEM_TEXT_MAX];
    uint32_t errors_before = problems->error_count;
    for (uint32_t i = 0; i < paths->count; i++)
        if (pem_file_open(&files[i], paths->at[i], where_is(&reading, paths, i, wheres[i]),
                          problems, "PEM CRLs"))
            read_certificates(&reading, &files[i]);
    for (uint32_t i = 0; i < paths->count; i++)
        if (files[i].text.bytes != NULL)
            read_crls(&reading, &files[i]);
    if (problems->error_count == errors_before)
        check_missing(&reading);
    for (uint32_t i = 0; i < paths->count; i++)
        pem_file_close(&files[i]);
    certificate_anchors_deinit(&reading.between);
}
