/* CRLs of any content: whatever is taken has as many revoked certificates as it says, each of which
 * is found afterwards, and a CRL that is cut is none. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "creds/crl_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_set(const struct crl *crl)
{
    static const uint8_t key[] = "key";
    const struct certificate ca = {.subject = crl->issuer, .public_key_info = {key, sizeof(key)}};
    struct crl_set set = {0};
    struct der entries = crl->entries, serial;
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    size_t count = 0;
    must(crl_set_add(&set, crl, &ca) == CRL_ADDED);
    must(crl_set_find(&set, &ca) != NULL);
    for (; crl_next(&entries, &serial); count++) {
        must(credential_digest_certificate(crl->issuer, serial, digest));
        must(crl_set_has(&set, digest));
    }
    must(count == crl->revoked && crl_set_revoked(&set) <= count);
    must(crl_set_add(&set, crl, &ca) == CRL_OLDER);
    must(crl_set_next_update(&set) == crl->next_update);
    crl_set_deinit(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct crl crl;
    /* In memory of its own, so that a sanitizer sees a read past its end. */
    uint8_t *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    enum crl_flaw flaw = crl_parse((struct der){copy, size}, &crl);
    must(crl_flaw_text(flaw) != NULL);
    if (flaw == CRL_GOOD) {
        check_set(&crl);
        must(crl_parse((struct der){copy, size - 1}, &crl) == CRL_UNREADABLE);
    }
    free(copy);
    return 0;
}
