/* What one certificate says: who it is, in words and as an identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "creds/certificate.h"
#include "gate/certificate_maker.h"

enum { IDENTITY_ROOM = 128 };

static void assert_identity(const char *subject, const char *alt_name, const char *identity)
{
    const struct recipe recipe = {.subject = subject, .issuer = "ca", .alt_name = alt_name};
    struct made made = certificate_make(&recipe);
    struct certificate certificate;
    uint8_t bytes[IDENTITY_ROOM];
    assert_true(certificate_parse(der_of(&made), &certificate));
    size_t len = certificate_identity(&certificate, bytes, sizeof(bytes));
    assert_true(len >= strlen(identity));
    assert_memory_equal(bytes, identity, strlen(identity));
    if (strcmp(identity, "spki-sha256:") == 0)
        assert_int_equal(len, CERTIFICATE_IDENTITY_MIN);
    else
        assert_int_equal(len, strlen(identity));
}

static void identities(void **state)
{
    (void)state;
    char longest[2 + IDENTITY_ROOM], too_long[3 + IDENTITY_ROOM];
    assert_identity("device1", "\x86urn:dev:1", "device1");
    assert_identity("O=example", "\x86urn:dev:1", "urn:dev:1");
    assert_identity("", "\x82host.example", "host.example");
    assert_identity("", "\x81me@example.com", "me@example.com");
    assert_identity("", "\x87\x0a\x01\x01\x01", "spki-sha256:");
    assert_identity("", NULL, "spki-sha256:");
    memset(longest, 'x', sizeof(longest) - 1);
    longest[0] = '\x86';
    longest[sizeof(longest) - 1] = '\0';
    assert_identity("", longest, longest + 1);
    /* Two that begin alike must not become one. */
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[0] = '\x86';
    too_long[sizeof(too_long) - 1] = '\0';
    assert_identity("", too_long, "spki-sha256:");
}

static void summary_is_short(void **state)
{
    (void)state;
    char name[200], serial[30];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    memset(serial, 1, sizeof(serial));
    const struct recipe recipe = {.subject = name,
                                  .issuer = "a,b\\c",
                                  .serial = serial,
                                  .serial_size = sizeof(serial),
                                  .not_after = 1893456000};
    struct made made = certificate_make(&recipe);
    struct certificate certificate;
    struct certificate_summary summary;
    assert_true(certificate_parse(der_of(&made), &certificate));
    certificate_summarise(&certificate, &summary);
    assert_int_equal(strlen(summary.subject), CERTIFICATE_NAME_TEXT_MAX - 1);
    assert_string_equal(summary.subject + strlen(summary.subject) - 4, "n...");
    assert_string_equal(summary.issuer, "CN=a\\,b\\\\c");
    assert_string_equal(summary.serial, "0101010101010101010101010101010101010101...");
    assert_string_equal(summary.not_after, "2030-01-01T00:00:00Z");
}

/* A character of several bytes is whole, or not there: wherever the name is cut. */
static void a_long_name_is_cut_between_characters(void **state)
{
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        char name[200] = "xxx";
        for (size_t at = before; at + 4 < sizeof(name); at += 4)
            memcpy(name + at, "\xf0\x9f\x8c\xa1", 5);
        const struct recipe recipe = {.subject = name,
                                      .issuer = "ca",
                                      .serial = "1",
                                      .serial_size = 1,
                                      .not_after = 1893456000};
        struct made made = certificate_make(&recipe);
        struct certificate certificate;
        struct certificate_summary summary;
        assert_true(certificate_parse(der_of(&made), &certificate));
        certificate_summarise(&certificate, &summary);
        size_t len = strlen(summary.subject);
        assert_in_range(len, CERTIFICATE_NAME_TEXT_MAX - 4, CERTIFICATE_NAME_TEXT_MAX - 1);
        assert_string_equal(summary.subject + len - 4, "\xa1...");
        assert_true(utf8_is_valid(summary.subject, len));
    }
}

/* In memory of their own, so that a sanitizer sees what is read past the end. */
static void cut_ones_are_refused(void **state)
{
    (void)state;
    const struct recipe recipe = {.subject = "device", .issuer = "ca", .alt_name = "\x82x.y"};
    struct made made = certificate_make(&recipe);
    for (size_t size = 0; size < made.size; size++) {
        uint8_t *copy = malloc(size + 1);
        struct certificate certificate;
        assert_non_null(copy);
        memcpy(copy, made.bytes, size);
        assert_false(certificate_parse((struct der){copy, size}, &certificate));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities),
        cmocka_unit_test(summary_is_short),
        cmocka_unit_test(a_long_name_is_cut_between_characters),
        cmocka_unit_test(cut_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, certificate_maker_begin, certificate_maker_end);
}
