#include "creds/credential.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hash.h>

#include "base/bytes.h"

static bool add(wc_Sha256 *hash, const void *bytes, size_t size)
{
    return wc_Sha256Update(hash, bytes, (word32)size) == 0;
}

/* label, first's size (4 bytes, the most significant one first), first, second: so neither other
 * parts nor another kind of credential make up the same bytes. */
static bool digest_of(const char *label, struct der first, struct der second,
                      uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    uint8_t whole[WC_SHA256_DIGEST_SIZE] = {0}, size[4];
    wc_Sha256 hash;
    if (wc_InitSha256(&hash) != 0)
        return false;
    bytes_put32(size, (uint32_t)first.size);
    bool ok = add(&hash, label, strlen(label)) && add(&hash, size, sizeof(size)) &&
              add(&hash, first.bytes, first.size) && add(&hash, second.bytes, second.size) &&
              wc_Sha256Final(&hash, whole) == 0;
    wc_Sha256Free(&hash);
    bytes_wipe(&hash, sizeof(hash)); /* the library leaves the end of the key in it */
    memcpy(digest, whole, CREDENTIAL_DIGEST_BYTES);
    return ok;
}

bool credential_digest_psk(struct der identity, struct der key,
                           uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    return digest_of("dtlsgate psk", identity, key, digest);
}

bool credential_digest_certificate(struct der issuer, struct der serial,
                                   uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    return digest_of("dtlsgate certificate", issuer, serial, digest);
}

bool credential_digest_public_key(struct der public_key_info,
                                  uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    uint8_t whole[WC_SHA256_DIGEST_SIZE] = {0};
    bool ok = wc_Sha256Hash(public_key_info.bytes, (word32)public_key_info.size, whole) == 0;
    memcpy(digest, whole, CREDENTIAL_DIGEST_BYTES);
    return ok;
}

bool credential_digests_of_path(const struct certificate_path *path,
                                struct credential_digests *digests)
{
    bool ok = credential_digest_public_key(path->certificates[0]->public_key_info, digests->at[0]);
    for (size_t i = 0; ok && i < path->count; i++) {
        const struct certificate *certificate = path->certificates[i];
        ok = credential_digest_certificate(certificate->issuer, certificate->serial,
                                           digests->at[1 + i]);
    }
    digests->count = ok ? (uint8_t)(1 + path->count) : 0;
    return ok;
}
