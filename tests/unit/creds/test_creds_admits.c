/* creds_admits.c: what credentials that have changed make of what began before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "creds/creds.h"
#include "gate/certificate_maker.h"

enum { NOW = 1800000000, ROOT = 0, DEVICE = 1 };

/* A device that holds a certificate with serial 5, below a root with serial 1. */
struct trial {
    struct creds creds;
    struct problems problems;
    struct made made[2];
    struct certificate certificates[2]; /* by key */
    struct certificate_path path;
    struct credential_digests digests;
};

static int set_up(void **state)
{
    static struct trial trial;
    static const struct recipe root = {.subject = "root", .issuer = "root", .is_ca = true};
    static const struct recipe device = {
        .subject = "device", .issuer = "root", .key = DEVICE, .serial = "\5", .serial_size = 1};
    trial = (struct trial){0};
    trial.made[ROOT] = certificate_make(&root);
    trial.made[DEVICE] = certificate_make(&device);
    for (int i = 0; i < 2; i++)
        assert_true(certificate_parse(der_of(&trial.made[i]), &trial.certificates[i]));
    trial.path =
        (struct certificate_path){{&trial.certificates[DEVICE], &trial.certificates[ROOT]}, 2};
    assert_true(credential_digests_of_path(&trial.path, &trial.digests));
    *state = &trial;
    return 0;
}

static void forget(struct creds *creds)
{
    psk_free(creds->psks);
    deny_free(creds->deny);
    crl_set_deinit(&creds->crls);
    digest_set_deinit(&creds->anchor_digests);
    *creds = (struct creds){0};
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    forget(&t->creds);
    problems_deinit(&t->problems);
    return 0;
}

static const char *path_of(const char *text, char path[64])
{
    int fd = memfd_create("text", 0); /* open until the test ends */
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return path;
}

static void use_psks(struct trial *t, const char *text)
{
    char path[64];
    psk_free(t->creds.psks);
    t->creds.psks = psk_load(&(const char *){path_of(text, path)}, 1, "psk_file", &t->problems);
    assert_non_null(t->creds.psks);
}

static void deny(struct trial *t, const char *text)
{
    char path[64];
    deny_free(t->creds.deny);
    t->creds.deny = deny_load(path_of(text, path), "deny_file", &t->problems);
    assert_non_null(t->creds.deny);
}

static void deny_key(struct trial *t)
{
    char text[80] = "sha256:", hex[2 * CREDENTIAL_DIGEST_BYTES + 1];
    for (int i = 0; i < CREDENTIAL_DIGEST_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", t->digests.at[0][i]);
    strcat(text, hex); /* the half that is kept; the other half does not matter */
    strcat(text, "00000000000000000000000000000000\n");
    deny(t, text);
}

static void use_crl(struct trial *t, struct crl_recipe recipe)
{
    struct crl crl;
    recipe.issuer = "root";
    struct made made = crl_make(&recipe);
    assert_int_equal(crl_parse(der_of(&made), &crl), CRL_GOOD);
    crl_set_deinit(&t->creds.crls);
    assert_int_equal(crl_set_add(&t->creds.crls, &crl, &t->certificates[ROOT]), CRL_ADDED);
    t->creds.has_crls = true;
}

static void use_anchor(struct trial *t)
{
    assert_true(digest_set_init(&t->creds.anchor_digests, 1));
    digest_set_add(&t->creds.anchor_digests, t->digests.at[2]);
}

/* The record of a device with a PSK that began with the key 00. */
static struct credential_record psk_record(const char *identity, uint8_t *digest)
{
    const struct credential_record record = {.kind = CREDENTIAL_PSK,
                                             .identity = (const uint8_t *)identity,
                                             .identity_size = strlen(identity),
                                             .digests = digest,
                                             .digest_count = 1};
    assert_true(credential_digest_psk((struct der){record.identity, record.identity_size},
                                      (struct der){(const uint8_t *)"", 1}, digest));
    return record;
}

static struct credential_record certificate_record(const struct trial *t)
{
    return (struct credential_record){.kind = CREDENTIAL_CERTIFICATE,
                                      .identity = (const uint8_t *)"device",
                                      .identity_size = 6,
                                      .digests = t->digests.at[0],
                                      .digest_count = t->digests.count};
}

static void assert_psk(const struct trial *t, const char *identity, enum creds_verdict verdict)
{
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    const struct credential_record record = psk_record(identity, digest);
    assert_int_equal(creds_admits(&t->creds, &record), verdict);
    assert_int_equal(creds_may_resume(&t->creds, &record, NOW), verdict == CREDS_ADMITTED);
}

static void psks_that_are_there_changed_and_gone(void **state)
{
    struct trial *t = *state;
    use_psks(t, "same:00\nchanged:01\n");
    assert_psk(t, "same", CREDS_ADMITTED);
    assert_psk(t, "changed", CREDS_KEY_CHANGED);
    assert_psk(t, "gone", CREDS_REVOKED);
    deny(t, "same\nchanged\n");
    assert_psk(t, "same", CREDS_REVOKED);
    assert_psk(t, "changed", CREDS_REVOKED);
    forget(&t->creds);
    assert_psk(t, "same", CREDS_REVOKED);
}

static void certificates_stay_until_something_names_them(void **state)
{
    struct trial *t = *state;
    const struct credential_record record = certificate_record(t);
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_ADMITTED);
    use_crl(t, (struct crl_recipe){.serials = {"\4"}, .next_update = NOW - 1});
    deny(t, "another\n");
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_ADMITTED);
    use_crl(t, (struct crl_recipe){.serials = {"\5"}});
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_REVOKED);
    use_crl(t, (struct crl_recipe){.serials = {"\1"}}); /* its CA */
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_REVOKED);
    forget(&t->creds);
    deny(t, "device\n");
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_REVOKED);
    deny_key(t);
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_REVOKED);
}

static void tickets_of_certificates_need_more(void **state)
{
    struct trial *t = *state;
    const struct credential_record record = certificate_record(t);
    assert_false(creds_may_resume(&t->creds, &record, NOW)); /* the CA is gone */
    use_anchor(t);
    assert_true(creds_may_resume(&t->creds, &record, NOW));
    use_crl(t, (struct crl_recipe){.next_update = NOW});
    assert_true(creds_may_resume(&t->creds, &record, NOW));
    assert_false(creds_may_resume(&t->creds, &record, NOW + 1));
    use_crl(t, (struct crl_recipe){.serials = {"\5"}});
    assert_false(creds_may_resume(&t->creds, &record, NOW));
}

static void those_without_a_credential(void **state)
{
    struct trial *t = *state;
    struct credential_record record = {.kind = CREDENTIAL_NONE};
    deny(t, "device\n");
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_ADMITTED);
    assert_false(creds_may_resume(&t->creds, &record, NOW));
    t->creds.is_open = true;
    assert_true(creds_may_resume(&t->creds, &record, NOW));
    record.kind = CREDENTIAL_UNKNOWN;
    assert_int_equal(creds_admits(&t->creds, &record), CREDS_REVOKED);
    assert_false(creds_may_resume(&t->creds, &record, NOW));
}

static enum certificate_flaw check_path(const struct trial *t, size_t *at)
{
    return creds_check_path(&t->creds, &t->path, &t->digests, NOW, at);
}

static void paths_in_handshakes(void **state)
{
    struct trial *t = *state;
    size_t at = 99;
    assert_int_equal(check_path(t, &at), FLAW_NONE);
    t->creds.has_crls = true; /* but there is none */
    assert_int_equal(check_path(t, &at), FLAW_NO_CRL);
    use_crl(t, (struct crl_recipe){.serials = {"\5"}});
    assert_int_equal(check_path(t, &at), FLAW_REVOKED);
    assert_int_equal(at, 0);
    use_crl(t, (struct crl_recipe){.serials = {"\1"}});
    assert_int_equal(check_path(t, &at), FLAW_REVOKED);
    assert_int_equal(at, 1);
    use_crl(t, (struct crl_recipe){.next_update = NOW - 1});
    assert_int_equal(check_path(t, &at), FLAW_CRL_EXPIRED);
    assert_int_equal(at, 0);
    deny(t, "device\n");
    assert_int_equal(check_path(t, &at), FLAW_DENIED);
    deny_key(t);
    assert_int_equal(check_path(t, &at), FLAW_DENIED);
    deny(t, "root\n"); /* no device */
    assert_int_equal(check_path(t, &at), FLAW_CRL_EXPIRED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(psks_that_are_there_changed_and_gone),
        TEST(certificates_stay_until_something_names_them),
        TEST(tickets_of_certificates_need_more),
        TEST(those_without_a_credential),
        TEST(paths_in_handshakes),
    };
    return cmocka_run_group_tests_name("creds_admits", tests, certificate_maker_begin,
                                       certificate_maker_end);
}
