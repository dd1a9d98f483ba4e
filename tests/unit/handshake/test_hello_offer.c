/* What the log says of a hello's offer: every list in the device's order, names and numbers, and
 * bounds that hold for hellos of any size, whole and cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "handshake/hello_offer.h"
#include "wire/classify_fixture.h"

#define TEXT(bytes) (bytes), sizeof(bytes) - 1

struct parts {
    int version;
    const char *suites;
    size_t suites_len;
    const char *extensions; /* NULL = not even their length */
    size_t extensions_len;
};

static void put_vector(struct maker *m, int length_bytes, const char *bytes, size_t len)
{
    classify_fixture_put_number(m, len, length_bytes);
    classify_fixture_put(m, bytes, len);
}

static void put_hello(struct maker *m, const struct parts *parts)
{
    static struct maker body;
    body.len = 0;
    classify_fixture_put_number(&body, (uint64_t)parts->version, 2);
    classify_fixture_put_zeros(&body, 32);
    put_vector(&body, 1, "12345678", 8);
    put_vector(&body, 1, "cookie", 6);
    put_vector(&body, 2, parts->suites, parts->suites_len);
    put_vector(&body, 1, "\0", 1);
    if (parts->extensions != NULL)
        put_vector(&body, 2, parts->extensions, parts->extensions_len);
    m->len = 0;
    classify_fixture_put_header(m, HANDSHAKE, 0xfefd, 0, (int)body.len + 12);
    classify_fixture_put_number(m, 1, 1);
    classify_fixture_put_number(m, body.len, 3);
    classify_fixture_put_number(m, 0, 2);
    classify_fixture_put_number(m, 0, 3);
    classify_fixture_put_number(m, body.len, 3);
    classify_fixture_put(m, body.bytes, body.len);
}

/* Of a copy of the exact size, so that a sanitizer sees a byte too far. */
static bool read_copy(struct hello_offer *offer, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    bool is_hello = hello_offer_read(offer, copy, len);
    free(copy);
    return is_hello;
}

static const char *offered(const struct parts *parts, char text[HELLO_OFFER_TEXT_MAX])
{
    static struct maker m;
    struct hello_offer offer = {0};
    put_hello(&m, parts);
    assert_true(read_copy(&offer, m.bytes, m.len));
    assert_true(offer.is_read);
    return hello_offer_format(&offer, text);
}

#define GROUPS "\0\x0a\0\x08\0\x06\0\x1d\0\x17\x11\xec"
#define SIGNATURES "\0\x0d\0\x06\0\x04\x04\x03\x08\x07"
#define VERSIONS "\0\x2b\0\x07\x06\xfe\xfc\x0a\x0a\xfe\xfd"
#define MODES_KE "\0\x2d\0\x02\x01\0"
#define MODES_BOTH "\0\x2d\0\x03\x02\0\x01"
#define UNKNOWN "\xff\x01\0\x01\0"

static void test_every_list(void **state)
{
    static const struct {
        struct parts parts;
        const char *text;
    } cases[] = {
        {{0xfefd, TEXT("\xc0\xa8\0\xff"), NULL, 0},
         "versions:1.2 groups:none signatures:none "
         "suites:TLS_PSK_WITH_AES_128_CCM_8,TLS_EMPTY_RENEGOTIATION_INFO_SCSV"},
        {{0xfeff, TEXT("\xc0\xae\x0a\x0a"), TEXT("")},
         "versions:1.0 groups:none signatures:none "
         "suites:TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,0x0a0a"},
        {{0xfefd, TEXT("\x13\x01"), TEXT(UNKNOWN GROUPS VERSIONS SIGNATURES MODES_KE)},
         "versions:1.3,0x0a0a,1.2 groups:x25519,secp256r1,X25519MLKEM768 "
         "signatures:ecdsa_secp256r1_sha256,ed25519 psk:ke suites:TLS_AES_128_GCM_SHA256"},
        {{0xfefd, TEXT("\x13\x01"), TEXT(MODES_BOTH GROUPS)},
         "versions:1.2 groups:x25519,secp256r1,X25519MLKEM768 signatures:none psk:dhe_ke "
         "suites:TLS_AES_128_GCM_SHA256"},
        {{0x0303, TEXT(""), TEXT(UNKNOWN)},
         "versions:0x0303 groups:none signatures:none "
         "suites:none"},
    };
    char text[HELLO_OFFER_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(offered(&cases[i].parts, text), cases[i].text);
}

/* Each list at its longest, with the longest names. */
static void test_bounds(void **state)
{
    static char suites[2 * 32766], extension[2 * 10000 + 6];
    struct parts parts = {0xfefd, suites, 0, NULL, 0};
    char text[HELLO_OFFER_TEXT_MAX];
    (void)state;
    for (size_t at = 0; at < sizeof(suites); at += 2)
        memcpy(suites + at, "\xcc\xac", 2);
    parts.suites_len = 300 * 2;
    offered(&parts, text);
    assert_non_null(strstr(text, " suites:TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE"));
    assert_string_equal(strrchr(text, ','), ",+296");
    for (int list = 0; list < 3; list++) {
        static const char *const types[] = {"\0\x0a", "\0\x0d", "\0\x2b"};
        static const char *const names[] = {" groups:SecP384r1MLKEM1024,",
                                            " signatures:ecdsa_secp521r1_sha512,",
                                            "versions:0xabcd,"};
        static const char *const values[] = {"\x11\xed", "\x06\x03", "\xab\xcd"};
        size_t len = list == 2 ? 254 : 10000, head = list == 2 ? 5 : 6;
        memcpy(extension, types[list], 2);
        extension[2] = (char)((len + head - 4) >> 8);
        extension[3] = (char)(len + head - 4);
        extension[4] = (char)(list == 2 ? len : len >> 8);
        extension[5] = (char)len;
        for (size_t at = 0; at < len; at += 2)
            memcpy(extension + head + at, values[list], 2);
        parts.extensions = extension;
        parts.extensions_len = head + len;
        offered(&parts, text);
        assert_non_null(strstr(text, names[list]));
        assert_non_null(strstr(text, ",+"));
        assert_string_equal(strrchr(text, ','), ",+296"); /* the suites have their place */
    }
}

/* What is there is told, and that it is not all. */
static void test_cut_anywhere(void **state)
{
    static const struct parts parts = {0xfefd, TEXT("\x13\x01\xc0\xa8"),
                                       TEXT(UNKNOWN GROUPS VERSIONS SIGNATURES)};
    static struct maker m;
    char text[HELLO_OFFER_TEXT_MAX];
    (void)state;
    put_hello(&m, &parts);
    for (size_t len = 0; len <= m.len; len++) {
        struct hello_offer offer = {0};
        bool is_hello = read_copy(&offer, m.bytes, len);
        assert_int_equal(is_hello, len >= 25);
        assert_int_equal(offer.is_read, is_hello);
        if (!is_hello)
            continue;
        hello_offer_format(&offer, text);
        assert_int_equal(offer.is_cut, len < m.len);
        assert_int_equal(strcmp(text + strlen(text) - 3, "...") == 0, len < m.len);
        if (len >= m.len - 10)
            assert_non_null(strstr(text, "versions:1.3,0x0a0a,1.2 groups:x25519,secp256r1"));
    }
}

/* A list that says more than its extension has, an extension that says more than there is. */
static void test_lies(void **state)
{
    static const struct parts lies[] = {
        {0xfefd, TEXT("\xc0\xa8"), TEXT("\0\x0a\0\x04\xff\xff\0\x1d")},
        {0xfefd, TEXT("\xc0\xa8"), TEXT("\0\x0a\xff\xff\0\x02\0\x1d")},
        {0xfefd, TEXT("\xc0\xa8"), TEXT("\0\x0a\0\0")},
        {0xfefd, TEXT("\xc0\xa8"), TEXT("\0\x0a\0\x01\0")},
        {0xfefd, TEXT("\xc0\xa8"), TEXT("\0")},
        {0xfefd, TEXT("\xc0\xa8\xc0"), TEXT("\0\x2d\0\x01\xff")},
    };
    char text[HELLO_OFFER_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
        assert_non_null(strstr(offered(&lies[i], text), "suites:TLS_PSK_WITH_AES_128_CCM_8"));
}

static void test_no_hello(void **state)
{
    static const struct parts parts = {0xfefd, TEXT("\xc0\xa8"), NULL, 0};
    static const size_t places[] = {0, 3, 4, 13, 13 + 6}; /* type, epoch, message type, offset */
    static struct maker m;
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct hello_offer offer = {.suite_total = 7};
        put_hello(&m, &parts);
        m.bytes[places[i]] ^= 1;
        assert_false(read_copy(&offer, m.bytes, m.len));
        assert_int_equal(offer.suite_total, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_list),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_lies),
        cmocka_unit_test(test_no_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
