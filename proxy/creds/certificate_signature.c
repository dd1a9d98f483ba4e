#include "creds/certificate_signature.h"

#include <stdlib.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>

#define OID(...)                                                               \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }
#define PKCS1(last) OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last)

struct algorithm {
    struct der oid;
    enum certificate_key key;
    enum certificate_flaw flaw;
    word32 number; /* the library's */
};

static const struct algorithm algorithms[] = {
    {PKCS1(2), KEY_RSA, FLAW_WEAK_SIGNATURE, CTC_MD2wRSA},
    {PKCS1(4), KEY_RSA, FLAW_WEAK_SIGNATURE, CTC_MD5wRSA},
    {PKCS1(5), KEY_RSA, FLAW_WEAK_SIGNATURE, CTC_SHAwRSA},
    {PKCS1(11), KEY_RSA, FLAW_NONE, CTC_SHA256wRSA},
    {PKCS1(12), KEY_RSA, FLAW_NONE, CTC_SHA384wRSA},
    {PKCS1(13), KEY_RSA, FLAW_NONE, CTC_SHA512wRSA},
    {PKCS1(14), KEY_RSA, FLAW_NONE, CTC_SHA224wRSA},
    {PKCS1(10), KEY_RSA_PSS, FLAW_NONE, CTC_RSASSAPSS},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1), KEY_EC, FLAW_WEAK_SIGNATURE, CTC_SHAwECDSA},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1), KEY_EC, FLAW_NONE, CTC_SHA224wECDSA},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2), KEY_EC, FLAW_NONE, CTC_SHA256wECDSA},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3), KEY_EC, FLAW_NONE, CTC_SHA384wECDSA},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4), KEY_EC, FLAW_NONE, CTC_SHA512wECDSA},
    {OID(0x2b, 0x65, 0x70), KEY_ED25519, FLAW_NONE, CTC_ED25519},
};

static const struct algorithm *find(struct der oid)
{
    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++)
        if (der_is_equal(oid, algorithms[i].oid))
            return &algorithms[i];
    return NULL;
}

/* RSASSA-PSS-params (RFC 4055 section 3.1). What is left out stands for SHA-1 and 20 bytes. */
struct pss {
    struct der hash, mask; /* bytes NULL: left out */
    int salt_bytes;
};

static bool read_pss(struct der parameters, struct pss *pss)
{
    struct der sequence, tagged, algorithm, integer;
    *pss = (struct pss){.salt_bytes = 20};
    if (!der_take(&parameters, DER_SEQUENCE, &sequence) || parameters.size != 0)
        return false;
    if (der_take(&sequence, DER_CONTEXT_CONSTRUCTED + 0, &tagged) &&
        (!der_take(&tagged, DER_SEQUENCE, &algorithm) ||
         !der_take(&algorithm, DER_OID, &pss->hash)))
        return false;
    if (der_take(&sequence, DER_CONTEXT_CONSTRUCTED + 1, &tagged))
        pss->mask = tagged;
    if (der_take(&sequence, DER_CONTEXT_CONSTRUCTED + 2, &tagged) &&
        (!der_take(&tagged, DER_INTEGER, &integer) || !der_small_number(integer, &pss->salt_bytes)))
        return false;
    return true;
}

/* SHA-256, 384, 512, 224: 2.16.840.1.101.3.4.2.1 to 4. */
static bool is_sha2(struct der oid)
{
    static const uint8_t begin[] = {0x60, 0x86, 0x48, 1, 101, 3, 4, 2};
    return oid.size == 9 && der_is_equal((struct der){oid.bytes, 8}, (struct der){begin, 8}) &&
           oid.bytes[8] >= 1 && oid.bytes[8] <= 4;
}

enum certificate_flaw certificate_signature_algorithm(
    const struct certificate_signed_part *signed_part)
{
    const struct algorithm *algorithm = find(signed_part->oid);
    struct pss pss;
    if (algorithm == NULL)
        return FLAW_UNKNOWN_SIGNATURE;
    if (algorithm->key != KEY_RSA_PSS)
        return algorithm->flaw;
    if (!read_pss(signed_part->parameters, &pss))
        return FLAW_UNKNOWN_SIGNATURE;
    return pss.hash.bytes == NULL || !is_sha2(pss.hash) ? FLAW_WEAK_SIGNATURE : FLAW_NONE;
}

/* An RSASSA-PSS key may say which hash it is for and how long the salt is at least (RFC 4055
 * section 3.3). */
static bool may_make(struct der key_parameters, struct der signature_parameters)
{
    struct pss of_key, of_signature;
    if (key_parameters.bytes == NULL)
        return true;
    return read_pss(key_parameters, &of_key) && read_pss(signature_parameters, &of_signature) &&
           der_is_equal(of_key.hash, of_signature.hash) &&
           der_is_equal(of_key.mask, of_signature.mask) &&
           of_signature.salt_bytes >= of_key.salt_bytes;
}

static bool fits_key(const struct algorithm *algorithm,
                     const struct certificate_signed_part *signed_part,
                     const struct certificate *issuer)
{
    if (algorithm->key == KEY_RSA_PSS && issuer->key_kind == KEY_RSA)
        return true;
    return algorithm->key == issuer->key_kind &&
           (algorithm->key != KEY_RSA_PSS ||
            may_make(issuer->public_key_parameters, signed_part->parameters));
}

static word32 key_number(const struct certificate *issuer)
{
    switch (issuer->key_kind) {
    case KEY_RSA: return RSAk;
    case KEY_RSA_PSS: return RSAPSSk;
    case KEY_EC: return ECDSAk;
    default: return ED25519k;
    }
}

bool certificate_signature_is_of(const struct certificate_signed_part *signed_part,
                                 const struct certificate *issuer)
{
    const struct algorithm *algorithm = find(signed_part->oid);
    if (algorithm == NULL || issuer->key_flaw != FLAW_NONE ||
        !fits_key(algorithm, signed_part, issuer))
        return false;
    SignatureCtx *context = malloc(sizeof(*context));
    if (context == NULL)
        return false;
    /* The library wants the curve along with a key on it. */
    const struct der *key =
        issuer->key_kind == KEY_EC ? &issuer->public_key_info : &issuer->public_key;
    struct der parameters =
        algorithm->key == KEY_RSA_PSS ? signed_part->parameters : (struct der){NULL, 0};
    InitSignatureCtx(context, NULL, INVALID_DEVID);
    int code = ConfirmSignature(context, signed_part->whole.bytes, (word32)signed_part->whole.size,
                                key->bytes, (word32)key->size, key_number(issuer),
                                signed_part->signature.bytes, (word32)signed_part->signature.size,
                                algorithm->number, parameters.bytes, (word32)parameters.size, NULL);
    FreeSignatureCtx(context);
    free(context);
    return code == 0;
}
