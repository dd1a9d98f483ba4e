/* What is wrong with credentials is said, and suites are chosen as documented. */
#include <wolfssl/options.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <wolfssl/ssl.h>

#include "creds/creds_suites.h"
#include "fakes/core_dump.h"
#include "fakes/fake_system.h"
#include "gate/creds_fixture.h"
#include "handshake/ticket.h"

static void assert_only_problem(const struct creds_fixture *f, bool is_warning, const char *part)
{
    if (f->problems.count != 1 || !creds_fixture_has_problem(f, is_warning, part)) {
        for (uint32_t i = 0; i < f->problems.count; i++)
            print_message("%s\n", f->problems.texts[i]);
        fail_msg("expected one %s with: %s", is_warning ? "warning" : "error", part);
    }
}

static void assert_error(struct creds_fixture *f, const char *settings, const char *part)
{
    creds_fixture_load(f, settings);
    assert_only_problem(f, false, part);
}

static void assert_warning(struct creds_fixture *f, const char *settings, const char *part)
{
    creds_fixture_load(f, settings);
    assert_only_problem(f, true, part);
}

/* --- files --------------------------------------------------------------------------------- */

static void test_good_files(void **state)
{
    struct creds_fixture *f = *state;
    static const char *const good[] = {
        PSK,
        PAIR CA,
        PSK PAIR CA,
        CA "certificate = server-chain.pem\nprivate_key = server.key\n",
        CA "certificate = server.pem\nprivate_key = old-form.key\n",
        CA "certificate = rsa-server.pem\nprivate_key = rsa-server.key\n",
        CA "certificate = ec-by-rsa.pem\nprivate_key = ec-by-rsa.key\n",
        PAIR CA "versions = 1.2\n",
        PAIR CA "versions = 1.3\n",
        PSK "versions = 1.2\n",
        PSK "versions = 1.3\n",
        PAIR "client_auth = none\n",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        creds_fixture_load(f, good[i]);
        assert_int_equal(f->problems.count, 0);
    }
}

static void test_key_and_certificate_in_one_file(void **state)
{
    struct creds_fixture *f = *state;
    char command[256];
    snprintf(command, sizeof(command), "umask 077; cd %s && cat server.key server.pem >both.pem",
             creds_fixture_folder());
    assert_int_equal(system(command), 0);
    creds_fixture_load(f, CA "certificate = both.pem\nprivate_key = both.pem\n");
    assert_int_equal(f->problems.count, 0);
}

static void test_psk_count_and_find(void **state)
{
    struct creds_fixture *f = *state;
    size_t size = 0;
    creds_fixture_load(f, PSK PAIR CA);
    assert_int_equal(creds_psk_count(f->creds), 2);
    assert_non_null(creds_find_psk(f->creds, IDENTITY, strlen(IDENTITY), &size));
    assert_int_equal(size, 16);
    assert_null(creds_find_psk(f->creds, "stranger", 8, &size));
    creds_fixture_load(f, PAIR CA);
    assert_int_equal(creds_psk_count(f->creds), 0);
    assert_null(creds_find_psk(f->creds, IDENTITY, strlen(IDENTITY), &size));
}

/* Who knows the name of a ticket goes first when a limit bites; without tickets nobody may. */
static void test_ticket_master_is_random(void **state)
{
    static const uint8_t zero[TICKET_MASTER_BYTES];
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK "tickets = off\n");
    assert_memory_not_equal(f->creds->ticket_master, zero, sizeof(zero));
}

static void test_private_key_is_left_out_of_core_dumps(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR CA);
    assert_non_null(f->creds);
    assert_true(f->creds->private_key.size > 32);
    assert_true(core_dump_leaves_out(f->creds->private_key.bytes));
    assert_true(core_dump_leaves_out(f->creds->ticket_master));
    unsigned size = 0;
    assert_int_equal(wolfSSL_CTX_move_private_key(f->creds->ctx, NULL, &size), WOLFSSL_SUCCESS);
    assert_int_equal(size, f->creds->private_key.size);
    assert_int_equal(wolfSSL_CTX_check_private_key(f->creds->ctx), WOLFSSL_SUCCESS);
}

static void test_bad_certificates(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_put_file("garbage.pem",
                           "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0600);
    creds_fixture_put_file("text.pem", "hello\n", 0600);
    assert_error(f, CA "certificate = missing.pem\nprivate_key = server.key\n",
                 "gate.ini:6: [listener x] certificate = ");
    assert_error(f, CA "certificate = missing.pem\nprivate_key = server.key\n", "No such file");
    assert_error(f, CA "certificate = .\nprivate_key = server.key\n", "not a regular file");
    assert_error(f, CA "certificate = text.pem\nprivate_key = server.key\n",
                 "holds no PEM certificate");
    assert_error(f, CA "certificate = server.der\nprivate_key = server.key\n",
                 "holds no PEM certificate");
    assert_error(f, CA "certificate = server.key\nprivate_key = server.key\n",
                 "holds no PEM certificate");
    assert_error(f, CA "certificate = garbage.pem\nprivate_key = server.key\n", "cannot be read");
}

static void test_bad_keys(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_put_file("garbage.key",
                           "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0600);
    creds_fixture_put_file("text.key", "hello\n", 0600);
    assert_error(f, CA "certificate = server.pem\nprivate_key = missing.key\n",
                 "gate.ini:7: [listener x] private_key = ");
    assert_error(f, CA "certificate = server.pem\nprivate_key = mismatched.key\n",
                 "the key is not that of the first certificate");
    assert_error(f, CA "certificate = server.pem\nprivate_key = rsa-server.key\n",
                 "the key is not that of the first certificate");
    assert_error(f, CA "certificate = rsa-server.pem\nprivate_key = server.key\n",
                 "the key is not that of the first certificate");
    assert_error(f, CA "certificate = server.pem\nprivate_key = encrypted.key\n", "is encrypted");
    assert_error(f, CA "certificate = server.pem\nprivate_key = encrypted-old.key\n",
                 "is encrypted");
    assert_error(f, CA "certificate = server.pem\nprivate_key = text.key\n",
                 "holds no PEM private key");
    assert_error(f, CA "certificate = server.pem\nprivate_key = server.pem\n",
                 "holds no PEM private key");
    assert_error(f, CA "certificate = server.pem\nprivate_key = garbage.key\n",
                 "the private key cannot be used");
}

static void test_bad_cas(void **state)
{
    struct creds_fixture *f = *state;
    assert_error(f, PAIR "client_ca = missing.pem\n", "client_ca = ");
    assert_error(f, PAIR "client_ca = text.pem\n", "holds no PEM certificate");
    assert_error(f, PAIR "client_ca = garbage.pem\n", "certificate 1 cannot be used");
    assert_error(f, PAIR "client_ca = device.pem\n", "certificate 1 cannot be used");
    assert_error(f, PAIR "client_ca = server-chain.pem\n", "certificate 1 cannot be used");
    assert_warning(f, PAIR "client_ca = expired-ca.pem\n",
                   "certificate 1 expired on 2021-02-03T04:05:06Z");
    /* It stays all the same: a board that starts without a clock may be wrong about the time. */
    assert_int_equal(f->creds->anchors.count, 1);
}

static void test_dates(void **state)
{
    struct creds_fixture *f = *state;
    assert_warning(f, CA "certificate = expired.pem\nprivate_key = expired.key\n",
                   "certificate 1 expired on 2021-02-03T04:05:06Z");
    assert_warning(f, CA "certificate = future.pem\nprivate_key = future.key\n",
                   "certificate 1 is not valid before 2098-07-06T05:04:03Z");
}

/* Makes a certificate with openssl and these options. The clock of the tests stands, that of
 * openssl does not. */
static void make_certificate(const char *name, const char *options)
{
    enum { HOUR_MS = 3600 * 1000 };
    fake_system_set_ms(HOUR_MS);
    char command[1024];
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -nodes -subj /CN=%s -keyout %s.key -out %s.pem %s "
             "2>openssl.log",
             creds_fixture_folder(), name, name, name, options);
    assert_int_equal(system(command), 0);
}

static void test_expiry_soon(void **state)
{
    struct creds_fixture *f = *state;
    make_certificate("soon", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 29");
    make_certificate("later", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 31");
    assert_warning(f, CA "certificate = soon.pem\nprivate_key = soon.key\n",
                   "certificate 1 expires on");
    assert_warning(f, PAIR "client_ca = soon.pem\n", "certificate 1 expires on");
    creds_fixture_load(f,
                       "certificate = later.pem\nprivate_key = later.key\nclient_ca = later.pem\n");
    assert_int_equal(f->problems.count, 0);
}

/* What would fail in every handshake. */
static void test_certificates_that_serve_nobody(void **state)
{
    struct creds_fixture *f = *state;
    make_certificate("pss", "-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -days 365");
    const char *pss = CA "certificate = pss.pem\nprivate_key = pss.key\n";
    char settings[512];
    snprintf(settings, sizeof(settings), "%s" PSK "versions = 1.2\n", pss);
    assert_error(f, settings, "an RSASSA-PSS key serves DTLS 1.3 only");
    snprintf(settings, sizeof(settings), "%s" PSK "ciphers = PSK-AES128-CCM-8\n", pss);
    assert_error(f, settings, "an RSASSA-PSS key serves DTLS 1.3 only");
    creds_fixture_load(f, pss);
    assert_int_equal(f->problems.count, 0);
    assert_error(f, PAIR CA PSK "ciphers = PSK-AES128-CCM-8:ECDHE-RSA-AES128-GCM-SHA256\n",
                 "no suite of this listener can use its key");
}

static void test_chain_that_does_not_fit(void **state)
{
    struct creds_fixture *f = *state;
    char command[512];
    make_certificate("long", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 365 "
                             "-addext nsComment=$(head -c 1700 /dev/zero | tr '\\0' x)");
    snprintf(
        command, sizeof(command),
        "cd %s && cp server.pem four.pem && for i in 1 2 3 4; do cat long.pem; done >>four.pem && "
        "cat four.pem long.pem >five.pem",
        creds_fixture_folder());
    assert_int_equal(system(command), 0);
    creds_fixture_load(f, CA "certificate = four.pem\nprivate_key = server.key\n");
    assert_int_equal(f->problems.count, 0);
    const char *five = CA "certificate = five.pem\nprivate_key = server.key\n";
    assert_error(f, five, "a flight of DTLS 1.2 has room for");
    char settings[256];
    snprintf(settings, sizeof(settings), "%sversions = 1.3\n", five);
    creds_fixture_load(f, settings);
    assert_int_equal(f->problems.count, 0);
    assert_error(f, CA "certificate = four.pem\nprivate_key = server.key\nmtu = 256\n",
                 "a flight of DTLS 1.2 has room for");
}

static void test_key_readable_by_others(void **state)
{
    struct creds_fixture *f = *state;
    char command[256];
    snprintf(command, sizeof(command), "cd %s && cp server.key open.key && chmod 644 open.key",
             creds_fixture_folder());
    assert_int_equal(system(command), 0);
    assert_warning(f, CA "certificate = server.pem\nprivate_key = open.key\n", "mode 0644");
    assert_true(creds_fixture_has_problem(f, true, "chmod 600"));
}

static void test_everything_wrong_is_reported_at_once(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(
        f, "psk_file = no.psk\ncertificate = no.pem\nprivate_key = no.key\nclient_ca = no-ca.pem\n"
           "ciphers = NONSENSE\n");
    assert_int_equal(f->problems.error_count, 5);
    assert_true(creds_fixture_has_problem(f, false, "no.psk"));
    assert_true(creds_fixture_has_problem(f, false, "no.pem"));
    assert_true(creds_fixture_has_problem(f, false, "no.key"));
    assert_true(creds_fixture_has_problem(f, false, "no-ca.pem"));
    assert_true(creds_fixture_has_problem(f, false, "NONSENSE"));
}

/* --- suites ------------------------------------------------------------------------------- */

static void test_ciphers_that_are_refused(void **state)
{
    struct creds_fixture *f = *state;
    static const char *const refused[] = {
        "NONSENSE",
        "ALL",
        "DEFAULT",
        "PSK-AES128-CBC-SHA256",
        "PSK-NULL-SHA256",
        "AES128-GCM-SHA256",
        "AES128-CCM-8",
        "ECDHE-ECDSA-AES128-SHA256",
        "TLS13-SHA256-SHA256",
        "ADH-AES128-SHA",
        "TLS13-AES128-GCM-SHA25",
        "TLS13-AES128-GCM-SHA2566",
        "-",
        "CCM8",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char settings[256], part[128];
        snprintf(settings, sizeof(settings), PSK PAIR CA "ciphers = PSK-AES128-CCM-8:%s\n",
                 refused[i]);
        snprintf(part, sizeof(part), ": %s is unknown or refused", refused[i]);
        assert_error(f, settings, part);
        assert_true(creds_fixture_has_problem(f, false, "possible are TLS13-AES128-GCM-SHA256:"));
    }
    assert_error(f, PSK "ciphers = ECDHE-ECDSA-AES128-CCM-8\n", "none of these works");
    assert_error(f, PAIR CA "ciphers = PSK-AES128-CCM-8\n", "none of these works");
    assert_error(f, PSK "versions = 1.2\nciphers = TLS13-AES128-GCM-SHA256\n",
                 "none of these works");
}

static void test_suites_that_leave_something_out(void **state)
{
    struct creds_fixture *f = *state;
    assert_warning(f, PSK "ciphers = PSK-AES128-CCM-8\n",
                   ": has no suite of DTLS 1.3, which versions has: a device that offers it, "
                   "be it beside 1.2, is refused; name one, such as TLS13-AES128-CCM-SHA256, or "
                   "write versions = 1.2");
    assert_warning(f, PSK "ciphers = TLS13-AES128-GCM-SHA256\n",
                   ": has no suite of DTLS 1.2, which versions has: a device that offers it "
                   "only is refused; name one, such as PSK-AES128-CCM-8, or write versions = 1.3");
    assert_warning(f, PSK "versions = 1.2\nciphers = PSK-AES128-CCM-8, ECDHE-ECDSA-AES128-CCM-8\n",
                   ": ECDHE-ECDSA-AES128-CCM-8: not offered");
    creds_fixture_load(f, PSK "versions = 1.2\nciphers = PSK-AES128-CCM-8\n");
    assert_int_equal(f->problems.count, 0);
    creds_fixture_load(f, PSK "ciphers = -PSK-AES128-CCM-8, -ECDHE-ECDSA-AES128-CCM-8\n");
    assert_int_equal(f->problems.count, 0);
    creds_fixture_load(f, PSK "ciphers = PSK-AES128-CCM-8, TLS13-AES128-CCM-SHA256\n");
    assert_int_equal(f->problems.count, 0);
}

static void assert_suites(const char *ciphers, uint32_t versions, bool has_psk,
                          bool has_certificate, const char *expected)
{
    char text[CREDS_SUITES_TEXT_MAX];
    struct err err;
    const struct suite_means means = {versions, has_psk, has_certificate, KEY_UNKNOWN};
    assert_true(creds_suites_choose(ciphers, &means, text, &err));
    assert_string_equal(text, expected);
}

static void test_suites_that_are_chosen(void **state)
{
    (void)state;
    assert_suites("", 3, true, true, SUITES_13 ":" SUITES_PSK ":" SUITES_CERTIFICATE);
    assert_suites("", 3, true, false, SUITES_13 ":" SUITES_PSK);
    assert_suites("", CONFIG_VERSION_1_2, true, false, SUITES_PSK);
    assert_suites("", CONFIG_VERSION_1_2, false, true, SUITES_CERTIFICATE);
    assert_suites("", CONFIG_VERSION_1_3, true, true, SUITES_13);
    assert_suites("TLS_PSK_WITH_AES_128_CCM_8, psk-aes128-ccm8:PSK-AES128-GCM-SHA256", 3, true,
                  true, "PSK-AES128-CCM-8:PSK-AES128-GCM-SHA256");
    assert_suites(":,ECDHE-ECDSA-AES128-CCM-8 , PSK-AES256-CCM8", 3, true, false,
                  "PSK-AES256-CCM-8");
}

static void test_suites_without_some(void **state)
{
    (void)state;
    assert_suites("-PSK-AES128-CCM-8", CONFIG_VERSION_1_2, true, false,
                  "PSK-AES128-GCM-SHA256:PSK-AES128-CCM");
    assert_suites("-TLS_PSK_WITH_AES_128_CCM_8, -psk-aes128-gcm-sha256:-PSK-AES128-GCM-SHA256",
                  CONFIG_VERSION_1_2, true, false, "PSK-AES128-CCM");
    /* One that is not in the default list is not there afterwards either. */
    assert_suites("-PSK-AES256-CCM", CONFIG_VERSION_1_2, true, false, SUITES_PSK);
    assert_suites("-TLS13-AES128-CCM-8-SHA256 -TLS13-AES128-CCM-SHA256", 3, true, false,
                  "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:" SUITES_PSK);

    static const struct {
        const char *ciphers, *why;
    } cases[] = {
        {"-PSK-AES128-CCM-8:PSK-AES128-CCM", "PSK-AES128-CCM: write the suites to offer, or only"},
        {"PSK-AES128-CCM, -PSK-AES128-CCM-8", "-PSK-AES128-CCM-8: write the suites to offer"},
        {"!PSK-AES128-CCM", "!PSK-AES128-CCM: write the suites to offer, or only such as the "
                            "default list is to go without, each with a - before it"},
        {"-PSK-ROT13", "-PSK-ROT13 is unknown or refused"},
        {"-", "- is unknown or refused"},
        {"--PSK-AES128-CCM", "--PSK-AES128-CCM is unknown"},
        {"-PSK-AES128-CCM,-PSK-AES128-CCM-8,-PSK-AES128-GCM-SHA256",
         "no suite is left of the default list that works with the versions and credentials"},
    };
    const struct suite_means means = {CONFIG_VERSION_1_2, true, false, KEY_UNKNOWN};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[CREDS_SUITES_TEXT_MAX];
        struct err err = {0};
        assert_false(creds_suites_choose(cases[i].ciphers, &means, text, &err));
        if (!strstr(err.text, cases[i].why))
            fail_msg("%s: %s", cases[i].ciphers, err.text);
    }
}

static void test_suites_by_their_codes(void **state)
{
    (void)state;
    char text[CREDS_SUITES_TEXT_MAX];
    assert_string_equal(creds_suites_text((const uint16_t[]){0xc0a8, 0x1301}, 2, text),
                        "PSK-AES128-CCM-8:TLS13-AES128-GCM-SHA256");
    assert_string_equal(creds_suites_text(NULL, 0, text), "");
}

/* The table has no name that this wolfSSL does not know: it would skip it in silence. And names and
 * codes go together. */
static void test_every_suite_is_known_to_wolfssl(void **state)
{
    (void)state;
    char text[CREDS_SUITES_TEXT_MAX];
    size_t count = 0;
    creds_suites_all(text);
    for (char *name = strtok(text, ":"); name; name = strtok(NULL, ":"), count++) {
        byte first, second;
        int flags;
        assert_int_equal(wolfSSL_get_cipher_suite_from_name(name, &first, &second, &flags), 0);
        struct suite_means means = {3, true, true, KEY_UNKNOWN};
        char by_iana[CREDS_SUITES_TEXT_MAX];
        struct err err;
        const char *iana = wolfSSL_get_cipher_name_iana_from_suite(first, second);
        assert_true(creds_suites_choose(iana, &means, by_iana, &err));
        assert_string_equal(by_iana, name);
        assert_string_equal(creds_suites_name((uint16_t)(first << 8 | second)), iana);
    }
    assert_int_equal(count, 21);
    assert_string_equal(creds_suites_name(0x002f), "unknown");
}

#define TEST(function) \
    cmocka_unit_test_setup_teardown(function, creds_fixture_set_up, creds_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good_files),
        TEST(test_key_and_certificate_in_one_file),
        TEST(test_psk_count_and_find),
        TEST(test_ticket_master_is_random),
        TEST(test_private_key_is_left_out_of_core_dumps),
        TEST(test_bad_certificates),
        TEST(test_bad_keys),
        TEST(test_bad_cas),
        TEST(test_dates),
        TEST(test_expiry_soon),
        TEST(test_certificates_that_serve_nobody),
        TEST(test_chain_that_does_not_fit),
        TEST(test_key_readable_by_others),
        TEST(test_everything_wrong_is_reported_at_once),
        TEST(test_ciphers_that_are_refused),
        TEST(test_suites_that_are_chosen),
        TEST(test_suites_without_some),
        TEST(test_suites_that_leave_something_out),
        TEST(test_suites_by_their_codes),
        TEST(test_every_suite_is_known_to_wolfssl),
    };
    return cmocka_run_group_tests(tests, creds_fixture_make_keys, creds_fixture_remove_keys);
}
