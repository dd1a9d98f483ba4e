/* credential.c: digests as another program computes them, and for what they differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "creds/certificate_name.h"
#include "creds/credential.h"
#include "gate/certificate_maker.h"

#define DER_OF(text) ((struct der){(const uint8_t *)(text), sizeof(text) - 1})

/* Made by openssl x509 with the serial 0xf10203040506, for the key of CN=device1; issuer:
 * O=Example, CN=ca. */
static const uint8_t certificate_der[] = {
    0x30, 0x82, 0x01, 0x76, 0x30, 0x82, 0x01, 0x1c, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x07, 0x00,
    0xf1, 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04,
    0x03, 0x02, 0x30, 0x1f, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x07, 0x45,
    0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c,
    0x02, 0x63, 0x61, 0x30, 0x1e, 0x17, 0x0d, 0x32, 0x36, 0x31, 0x31, 0x32, 0x39, 0x31, 0x33, 0x31,
    0x32, 0x32, 0x34, 0x5a, 0x17, 0x0d, 0x33, 0x36, 0x31, 0x31, 0x32, 0x36, 0x31, 0x33, 0x31, 0x32,
    0x32, 0x34, 0x5a, 0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x07,
    0x64, 0x65, 0x76, 0x69, 0x63, 0x65, 0x31, 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42,
    0x00, 0x04, 0x5b, 0x63, 0xe1, 0x09, 0xa8, 0x50, 0x7c, 0x9f, 0x09, 0xde, 0x3b, 0xdd, 0x5b, 0x19,
    0x6f, 0x06, 0xa3, 0x27, 0xa4, 0x55, 0x97, 0x4e, 0x4a, 0x40, 0x97, 0xee, 0x24, 0xe8, 0xcf, 0x82,
    0xa9, 0xfd, 0xa3, 0x87, 0x19, 0xa4, 0xc8, 0xab, 0xe5, 0x07, 0x7b, 0xc3, 0xce, 0xca, 0x6a, 0x86,
    0xf8, 0x54, 0x15, 0xc2, 0x12, 0x59, 0xb7, 0xf9, 0xde, 0x7e, 0x21, 0xa6, 0x36, 0xcd, 0x2f, 0x54,
    0x4f, 0xe7, 0xa3, 0x50, 0x30, 0x4e, 0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff,
    0x04, 0x02, 0x30, 0x00, 0x30, 0x1d, 0x06, 0x03, 0x55, 0x1d, 0x0e, 0x04, 0x16, 0x04, 0x14, 0xa4,
    0xce, 0x63, 0x16, 0xce, 0x92, 0x61, 0x83, 0xe8, 0x6a, 0xca, 0xf2, 0x41, 0xe4, 0xc5, 0x17, 0x13,
    0x8b, 0x37, 0x5f, 0x30, 0x1f, 0x06, 0x03, 0x55, 0x1d, 0x23, 0x04, 0x18, 0x30, 0x16, 0x80, 0x14,
    0xa2, 0x0a, 0x3f, 0x82, 0x4a, 0x55, 0x68, 0x1a, 0x30, 0xd4, 0xa8, 0x8d, 0x38, 0x63, 0x40, 0x3d,
    0x6f, 0xe2, 0x45, 0x2e, 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    0x03, 0x48, 0x00, 0x30, 0x45, 0x02, 0x21, 0x00, 0xbf, 0x98, 0xe2, 0x10, 0x1b, 0x78, 0x97, 0x83,
    0x5d, 0xbe, 0x40, 0x25, 0x71, 0x24, 0x7c, 0xf2, 0x4e, 0x56, 0xf8, 0x91, 0xf4, 0x13, 0xfd, 0xb3,
    0x49, 0x95, 0xba, 0x97, 0x5b, 0xf2, 0xff, 0x2c, 0x02, 0x20, 0x31, 0xb0, 0xd5, 0xba, 0xb6, 0x46,
    0xbc, 0x72, 0x88, 0x4b, 0xeb, 0x98, 0xfd, 0x45, 0x8b, 0x63, 0x05, 0x94, 0x4c, 0x08, 0xa2, 0xbe,
    0x14, 0xe5, 0x91, 0xb5, 0xb5, 0xf1, 0x88, 0x90, 0x57, 0xae,
};

/* The digests that Python's hashlib finds:
 * sha256(b"dtlsgate psk" + struct.pack(">I", len(identity)) + identity + key).digest()[:16],
 * sha256(b"crt" + sha256(name).digest() + serial).digest()[:16], where name has for each attribute
 * b"\1" + struct.pack(">I", len(oid)) + oid + b"\x0c" + struct.pack(">I", len(text)) +
 * text.lower(), sha256(openssl x509 -pubkey | openssl pkey -pubin -outform DER).digest()[:16]. */
static const uint8_t psk_digest[] =
    "\x34\xd4\xfc\xc0\xe3\x03\x06\xac\x80\xd0\x17\x51\x4e\x03\x71\x49";
static const uint8_t long_psk_digest[] =
    "\x25\xd6\xff\x64\xd2\x5a\x61\xeb\xda\x22\xeb\xbc\xc1\xce\x19\xf0";
static const uint8_t certificate_digest[] =
    "\x77\x84\xf9\x79\xfd\xeb\x79\xbd\x91\xd6\xbe\x1c\xcc\x3f\x18\x71";
static const uint8_t public_key_digest[] =
    "\x1a\xa1\x70\x22\x17\x96\x79\x43\xc9\x91\x8d\xa2\xbd\x1f\xf7\x5c";

static void digests_are_those_of_another_program(void **state)
{
    (void)state;
    static const uint8_t key[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    uint8_t digest[CREDENTIAL_DIGEST_BYTES], long_key[64];
    struct certificate certificate;
    assert_true(credential_digest_psk(DER_OF("device1"), (struct der){key, sizeof(key)}, digest));
    assert_memory_equal(digest, psk_digest, sizeof(digest));
    memset(long_key, 0xff, sizeof(long_key));
    assert_true(credential_digest_psk(DER_OF("urn:imei:490154203237518"),
                                      (struct der){long_key, sizeof(long_key)}, digest));
    assert_memory_equal(digest, long_psk_digest, sizeof(digest));

    assert_true(
        certificate_parse((struct der){certificate_der, sizeof(certificate_der)}, &certificate));
    assert_true(credential_digest_certificate(certificate.issuer, certificate.serial, digest));
    assert_memory_equal(digest, certificate_digest, sizeof(digest));
    assert_true(credential_digest_public_key(certificate.public_key_info, digest));
    assert_memory_equal(digest, public_key_digest, sizeof(digest));
}

/* What is on one side of the boundary between two parts is not on the other. */
static void each_part_counts_by_itself(void **state)
{
    (void)state;
    uint8_t digests[6][CREDENTIAL_DIGEST_BYTES];
    assert_true(credential_digest_psk(DER_OF("device1"), DER_OF("key"), digests[0]));
    assert_true(credential_digest_psk(DER_OF("device"), DER_OF("1key"), digests[1]));
    assert_true(credential_digest_psk(DER_OF("device1k"), DER_OF("ey"), digests[2]));
    assert_true(credential_digest_psk(DER_OF("device1"), DER_OF("kez"), digests[3]));
    assert_true(credential_digest_psk(DER_OF("device2"), DER_OF("key"), digests[4]));
    assert_true(credential_digest_certificate(DER_OF("device1"), DER_OF("key"), digests[5]));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(digests[i], digests[k], CREDENTIAL_DIGEST_BYTES);
}

/* A Name of one attribute for each text that is not NULL: CN, in a type of string. */
static struct der put_name(uint8_t *to, uint8_t tag, const char *first, const char *second)
{
    uint8_t *at = to;
    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? first : second;
        if (text == NULL)
            continue;
        uint8_t size = (uint8_t)strlen(text);
        const uint8_t head[] = {DER_SET,
                                (uint8_t)(size + 9),
                                DER_SEQUENCE,
                                (uint8_t)(size + 7),
                                DER_OID,
                                3,
                                0x55,
                                4,
                                3,
                                tag,
                                size};
        memcpy(at, head, sizeof(head));
        memcpy(at + sizeof(head), text, size);
        at += sizeof(head) + size;
    }
    return (struct der){to, (size_t)(at - to)};
}

static void assert_issuers(bool are_one, struct der a, struct der b)
{
    uint8_t digests[2][CREDENTIAL_DIGEST_BYTES];
    assert_int_equal(certificate_name_is_equal(a, b), are_one);
    assert_true(credential_digest_certificate(a, DER_OF("\1"), digests[0]));
    assert_true(credential_digest_certificate(b, DER_OF("\1"), digests[1]));
    assert_int_equal(memcmp(digests[0], digests[1], CREDENTIAL_DIGEST_BYTES) == 0, are_one);
}

/* A CRL and a certificate may write the same issuer in different ways. */
static void names_that_are_equal_make_one_digest(void **state)
{
    (void)state;
    uint8_t a[128], b[128];
    struct der name = put_name(a, DER_UTF8, "Devices CA", NULL);
    assert_issuers(true, name, put_name(b, DER_PRINTABLE, "Devices CA", NULL));
    assert_issuers(true, name, put_name(b, DER_IA5, "  devices  CA ", NULL));
    assert_issuers(false, name, put_name(b, DER_UTF8, "DevicesCA", NULL));
    assert_issuers(false, name, put_name(b, DER_T61, "Devices CA", NULL));
    assert_issuers(false, name, put_name(b, DER_UTF8, "Devices CA", "x"));
    assert_issuers(false, name, put_name(b, DER_UTF8, "Devices", "CA"));
    name = put_name(a, DER_T61, "Devices CA", NULL);
    assert_issuers(true, name, put_name(b, DER_T61, "Devices CA", NULL));
    assert_issuers(false, name, put_name(b, DER_T61, "devices CA", NULL));
    /* Two attributes, but of one RelativeDistinguishedName. */
    name = put_name(a, DER_UTF8, "x", "y");
    static const uint8_t together[] = {0x31, 20,   0x30, 8, 6, 3,    0x55, 4, 3,    0x0c, 1,
                                       'x',  0x30, 8,    6, 3, 0x55, 4,    3, 0x0c, 1,    'y'};
    assert_issuers(false, name, (struct der){together, sizeof(together)});
}

static void serials_are_numbers(void **state)
{
    (void)state;
    uint8_t name[128], digests[7][CREDENTIAL_DIGEST_BYTES];
    struct der issuer = put_name(name, DER_UTF8, "ca", NULL);
    const struct der serials[7] = {DER_OF("\x7f"), DER_OF("\0\x7f"),   DER_OF("\0\0\x7f"),
                                   DER_OF("\xff"), DER_OF("\xff\xff"), DER_OF("\0\xff"),
                                   DER_OF("\0")};
    static const int same_as[7] = {0, 0, 0, 3, 3, 5, 6};
    for (int i = 0; i < 7; i++)
        assert_true(credential_digest_certificate(issuer, serials[i], digests[i]));
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < 7; k++)
            assert_int_equal(memcmp(digests[i], digests[k], CREDENTIAL_DIGEST_BYTES) == 0,
                             same_as[i] == same_as[k]);
}

static void a_path_has_its_key_and_all_its_certificates(void **state)
{
    (void)state;
    struct made made[CERTIFICATE_PATH_MAX];
    struct certificate certificates[CERTIFICATE_PATH_MAX];
    struct certificate_path path = {.count = 0};
    for (char serial = 1; path.count < CERTIFICATE_PATH_MAX; serial++) {
        const struct recipe recipe = {.subject = "device",
                                      .issuer = "ca",
                                      .key = serial,
                                      .serial = &serial,
                                      .serial_size = 1};
        struct certificate *certificate = &certificates[path.count];
        made[path.count] = certificate_make(&recipe);
        assert_true(certificate_parse(der_of(&made[path.count]), certificate));
        path.certificates[path.count++] = certificate;

        uint8_t digest[CREDENTIAL_DIGEST_BYTES];
        struct credential_digests digests;
        assert_true(credential_digests_of_path(&path, &digests));
        assert_int_equal(digests.count, 1 + path.count);
        assert_true(credential_digest_public_key(certificates[0].public_key_info, digest));
        assert_memory_equal(digests.at[0], digest, sizeof(digest));
        for (size_t i = 0; i < path.count; i++) {
            assert_true(credential_digest_certificate(certificates[i].issuer,
                                                      certificates[i].serial, digest));
            assert_memory_equal(digests.at[1 + i], digest, sizeof(digest));
        }
    }
    assert_int_equal(1 + path.count, CREDENTIAL_DIGESTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_another_program),
        cmocka_unit_test(each_part_counts_by_itself),
        cmocka_unit_test(names_that_are_equal_make_one_digest),
        cmocka_unit_test(serials_are_numbers),
        cmocka_unit_test(a_path_has_its_key_and_all_its_certificates),
    };
    return cmocka_run_group_tests_name("credential", tests, certificate_maker_begin,
                                       certificate_maker_end);
}
