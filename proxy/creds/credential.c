#include "creds/credential.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hash.h>

#include "base/bytes.h"
#include "creds/certificate_name.h"

static bool add(wc_Sha256 *hash, const void *bytes, size_t size)
{
    return wc_Sha256Update(hash, bytes, (word32)size) == 0;
}

/* A label, the identity's size (4 bytes, the most significant one first), identity, key: so neither
 * other parts nor another kind of credential make up the same bytes. */
bool credential_digest_psk(struct der identity, struct der key,
                           uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    static const char label[] = "dtlsgate psk";
    uint8_t whole[WC_SHA256_DIGEST_SIZE] = {0}, size[4];
    wc_Sha256 hash;
    if (wc_InitSha256(&hash) != 0)
        return false;
    bytes_put32(size, (uint32_t)identity.size);
    bool ok = add(&hash, label, strlen(label)) && add(&hash, size, sizeof(size)) &&
              add(&hash, identity.bytes, identity.size) && add(&hash, key.bytes, key.size) &&
              wc_Sha256Final(&hash, whole) == 0;
    wc_Sha256Free(&hash);
    bytes_wipe(&hash, sizeof(hash)); /* the library leaves the end of the key in it */
    memcpy(digest, whole, CREDENTIAL_DIGEST_BYTES);
    return ok;
}

struct name_hash {
    wc_Sha256 hash;
    bool is_good;
};

static void add_of_name(void *context, const uint8_t *bytes, size_t size)
{
    struct name_hash *name = context;
    name->is_good = name->is_good && add(&name->hash, bytes, size);
}

bool credential_digest_issuer(struct der issuer, uint8_t digest[CREDENTIAL_ISSUER_BYTES])
{
    struct name_hash name = {.is_good = true};
    if (wc_InitSha256(&name.hash) != 0)
        return false;
    certificate_name_fold(issuer, add_of_name, &name);
    bool ok = name.is_good && wc_Sha256Final(&name.hash, digest) == 0;
    wc_Sha256Free(&name.hash);
    return ok;
}

/* A number is the same with more zeros, or ones if it is negative, in front. */
static struct der shortest(struct der integer)
{
    while (integer.size > 1 && ((integer.bytes[0] == 0x00 && integer.bytes[1] < 0x80) ||
                                (integer.bytes[0] == 0xff && integer.bytes[1] >= 0x80)))
        integer = (struct der){integer.bytes + 1, integer.size - 1};
    return integer;
}

/* With a serial of 20 bytes, the longest that there should be, one block of SHA-256. */
bool credential_digest_serial(const uint8_t issuer[CREDENTIAL_ISSUER_BYTES], struct der serial,
                              uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    static const char label[] = "crt"; /* no other kind of credential begins so */
    uint8_t whole[WC_SHA256_DIGEST_SIZE] = {0};
    wc_Sha256 hash;
    if (wc_InitSha256(&hash) != 0)
        return false;
    struct der number = shortest(serial);
    bool ok = add(&hash, label, strlen(label)) && add(&hash, issuer, CREDENTIAL_ISSUER_BYTES) &&
              add(&hash, number.bytes, number.size) && wc_Sha256Final(&hash, whole) == 0;
    wc_Sha256Free(&hash);
    memcpy(digest, whole, CREDENTIAL_DIGEST_BYTES);
    return ok;
}

bool credential_digest_certificate(struct der issuer, struct der serial,
                                   uint8_t digest[CREDENTIAL_DIGEST_BYTES])
{
    uint8_t of_issuer[CREDENTIAL_ISSUER_BYTES];
    return credential_digest_issuer(issuer, of_issuer) &&
           credential_digest_serial(of_issuer, serial, digest);
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
