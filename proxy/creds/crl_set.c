#include "creds/crl_set.h"

#include <stdlib.h>
#include <string.h>

#include "creds/certificate_name.h"

static bool is_of(const struct crl_of_ca *crl, const struct certificate *ca)
{
    return der_is_equal(crl->public_key_info, ca->public_key_info) &&
           certificate_name_is_equal(crl->name, ca->subject);
}

static struct crl_of_ca *find(const struct crl_set *set, const struct certificate *ca)
{
    for (size_t i = 0; i < set->count; i++)
        if (is_of(&set->crls[i], ca))
            return &set->crls[i];
    return NULL;
}

const struct crl_of_ca *crl_set_find(const struct crl_set *set, const struct certificate *ca)
{
    return find(set, ca);
}

/* --- adding --- */

static void free_crl(struct crl_of_ca *crl)
{
    free(crl->bytes);
    digest_set_deinit(&crl->revoked);
}

static bool copy_ca(struct crl_of_ca *crl, const struct certificate *ca)
{
    size_t name_size = ca->subject.size, key_size = ca->public_key_info.size;
    crl->bytes = malloc(name_size + key_size);
    if (crl->bytes == NULL)
        return false;
    memcpy(crl->bytes, ca->subject.bytes, name_size);
    memcpy(crl->bytes + name_size, ca->public_key_info.bytes, key_size);
    crl->name = (struct der){crl->bytes, name_size};
    crl->public_key_info = (struct der){crl->bytes + name_size, key_size};
    return true;
}

static bool copy_revoked(struct crl_of_ca *to, const struct crl *crl)
{
    uint8_t issuer[CREDENTIAL_ISSUER_BYTES], digest[CREDENTIAL_DIGEST_BYTES];
    struct der entries = crl->entries, serial;
    if (!digest_set_init(&to->revoked, crl->revoked) ||
        !credential_digest_issuer(crl->issuer, issuer))
        return false;
    while (crl_next(&entries, &serial)) {
        if (!credential_digest_serial(issuer, serial, digest))
            return false;
        digest_set_add(&to->revoked, digest);
    }
    return true;
}

/* The place of a new one. */
static struct crl_of_ca *grow(struct crl_set *set)
{
    struct crl_of_ca *more = reallocarray(set->crls, set->count + 1, sizeof(*more));
    if (more == NULL)
        return NULL;
    set->crls = more;
    return &more[set->count];
}

enum crl_added crl_set_add(struct crl_set *set, const struct crl *crl, const struct certificate *ca)
{
    struct crl_of_ca added = {.this_update = crl->this_update, .next_update = crl->next_update};
    struct crl_of_ca *before = find(set, ca);
    if (before != NULL && before->this_update >= crl->this_update)
        return CRL_OLDER;
    struct crl_of_ca *place = before != NULL ? before : grow(set);
    if (place == NULL || !copy_ca(&added, ca) || !copy_revoked(&added, crl)) {
        free_crl(&added);
        return CRL_NO_MEMORY;
    }
    if (before != NULL)
        free_crl(before);
    else
        set->count++;
    *place = added;
    return before != NULL ? CRL_NEWER : CRL_ADDED;
}

void crl_set_deinit(struct crl_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free_crl(&set->crls[i]);
    free(set->crls);
    *set = (struct crl_set){0};
}

/* --- asking --- */

bool crl_set_has(const struct crl_set *set, const uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    for (size_t i = 0; i < set->count; i++)
        if (digest_set_has(&set->crls[i].revoked, digest))
            return true;
    return false;
}

static enum certificate_flaw flaw_of_crl(const struct crl_of_ca *crl, int64_t now)
{
    if (crl == NULL)
        return FLAW_NO_CRL;
    if (now > crl->next_update)
        return FLAW_CRL_EXPIRED;
    return now < crl->this_update ? FLAW_CRL_NOT_YET : FLAW_NONE;
}

bool crl_set_is_current(const struct crl_set *set, int64_t now)
{
    for (size_t i = 0; i < set->count; i++)
        if (flaw_of_crl(&set->crls[i], now) != FLAW_NONE)
            return false;
    return true;
}

enum certificate_flaw crl_set_check(const struct crl_set *set, const struct certificate_path *path,
                                    const struct credential_digests *digests, int64_t now,
                                    size_t *at)
{
    /* What an old CRL says is still true. */
    for (*at = 0; *at < path->count; ++*at)
        if (crl_set_has(set, digests->at[1 + *at]))
            return FLAW_REVOKED;
    for (*at = 0; *at < path->count; ++*at) {
        const struct certificate *certificate = path->certificates[*at];
        bool is_trusted = *at + 1 == path->count;
        /* A trusted CA that another has issued is trusted by itself: there is no more to be known.
         */
        if (is_trusted && !certificate_name_is_equal(certificate->issuer, certificate->subject))
            break;
        const struct certificate *issuer = is_trusted ? certificate : path->certificates[*at + 1];
        enum certificate_flaw flaw = flaw_of_crl(crl_set_find(set, issuer), now);
        if (flaw != FLAW_NONE)
            return flaw;
    }
    return FLAW_NONE;
}

int64_t crl_set_next_update(const struct crl_set *set)
{
    int64_t next = CRL_NEVER;
    for (size_t i = 0; i < set->count; i++)
        if (set->crls[i].next_update < next)
            next = set->crls[i].next_update;
    return next;
}

size_t crl_set_revoked(const struct crl_set *set)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++)
        count += set->crls[i].revoked.count;
    return count;
}
