#include "creds/certificate_key.h"

#include <string.h>

enum {
    /* As short as OpenSSL and GnuTLS take by default. */
    RSA_BITS_MIN = 1024,
    /* As long as the library was built for. */
    RSA_BITS_MAX = 4096,
};

#define OID(...)                                                               \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

static const struct {
    struct der oid;
    enum certificate_key kind;
} kinds[] = {
    {OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1), KEY_RSA},
    {OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10), KEY_RSA_PSS},
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1), KEY_EC},
    {OID(0x2b, 0x65, 0x70), KEY_ED25519},
};

/* The curves, and the bytes of an uncompressed point on them. */
static const struct {
    struct der oid;
    size_t point_size;
} curves[] = {
    {OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7), 65}, /* P-256 */
    {OID(0x2b, 0x81, 4, 0, 34), 97},                  /* P-384 */
    {OID(0x2b, 0x81, 4, 0, 35), 133},                 /* P-521 */
};

static enum certificate_key kind_of(struct der oid)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (der_is_equal(oid, kinds[i].oid))
            return kinds[i].kind;
    return KEY_UNKNOWN;
}

static size_t bits_of(struct der integer)
{
    while (integer.size != 0 && integer.bytes[0] == 0)
        integer = (struct der){integer.bytes + 1, integer.size - 1};
    if (integer.size == 0)
        return 0;
    size_t bits = (integer.size - 1) * 8;
    for (uint8_t first = integer.bytes[0]; first != 0; first >>= 1)
        bits++;
    return bits;
}

static enum certificate_flaw flaw_of_rsa(struct der key)
{
    struct der sequence, modulus, exponent;
    if (!der_take(&key, DER_SEQUENCE, &sequence) || key.size != 0 ||
        !der_take(&sequence, DER_INTEGER, &modulus) ||
        !der_take(&sequence, DER_INTEGER, &exponent) || sequence.size != 0)
        return FLAW_UNKNOWN_KEY;
    size_t bits = bits_of(modulus);
    /* A long exponent only makes work: 65537 has 17 bits. */
    if (bits > RSA_BITS_MAX || bits_of(exponent) > 64 || bits_of(exponent) < 2)
        return FLAW_UNKNOWN_KEY;
    return bits < RSA_BITS_MIN ? FLAW_WEAK_KEY : FLAW_NONE;
}

static enum certificate_flaw flaw_of_ec(struct der parameters, struct der key)
{
    struct der curve;
    if (!der_take(&parameters, DER_OID, &curve))
        return FLAW_UNKNOWN_CURVE;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
        if (der_is_equal(curve, curves[i].oid))
            return key.size == curves[i].point_size && key.bytes[0] == 4 ? FLAW_NONE
                                                                         : FLAW_UNKNOWN_KEY;
    return FLAW_UNKNOWN_CURVE;
}

static enum certificate_flaw flaw_of(enum certificate_key kind, struct der parameters,
                                     struct der key)
{
    switch (kind) {
    case KEY_RSA:
    case KEY_RSA_PSS: return flaw_of_rsa(key);
    case KEY_EC: return flaw_of_ec(parameters, key);
    case KEY_ED25519: return key.size == 32 ? FLAW_NONE : FLAW_UNKNOWN_KEY;
    case KEY_UNKNOWN: break;
    }
    return FLAW_UNKNOWN_KEY;
}

bool certificate_key_read(struct der key_info, struct certificate *certificate)
{
    struct der algorithm, oid, bits;
    if (!der_take(&key_info, DER_SEQUENCE, &algorithm) || !der_take(&algorithm, DER_OID, &oid) ||
        !der_take(&key_info, DER_BIT_STRING, &bits) || key_info.size != 0 ||
        !der_whole_bits(bits, &certificate->public_key))
        return false;
    enum certificate_key kind = kind_of(oid);
    certificate->key_kind = (uint8_t)kind;
    certificate->key_flaw = (uint8_t)flaw_of(kind, algorithm, certificate->public_key);
    if (kind == KEY_RSA_PSS && algorithm.size != 0)
        certificate->public_key_parameters = algorithm;
    return true;
}
