/* crl_set.c: what the CRLs of several CAs say about a path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "creds/crl_set.h"
#include "gate/certificate_maker.h"

enum { NOW = 1800000000, DAY = 24 * 3600 };
enum { ROOT, INTER, DEVICE, PATH_COUNT };

/* A device below an intermediate below a root; their serials are 3, 2 and 1. */
struct trial {
    struct made made[PATH_COUNT];
    struct certificate certificates[PATH_COUNT];
    struct certificate_path path;
    struct credential_digests digests;
    struct crl_set set;
};

static int set_up(void **state)
{
    static struct trial trial;
    static const struct recipe recipes[PATH_COUNT] = {
        [ROOT] = {.subject = "root", .issuer = "root", .key = ROOT, .signer = ROOT},
        [INTER] = {.subject = "inter", .issuer = "root", .key = INTER, .signer = ROOT},
        [DEVICE] = {.subject = "device", .issuer = "inter", .key = DEVICE, .signer = INTER},
    };
    trial = (struct trial){0};
    for (int i = PATH_COUNT - 1; i >= 0; i--) {
        struct recipe recipe = recipes[i];
        recipe.is_ca = i != DEVICE;
        recipe.serial = (const char[]){(char)(i + 1)};
        recipe.serial_size = 1;
        trial.made[i] = certificate_make(&recipe);
        assert_true(certificate_parse(der_of(&trial.made[i]), &trial.certificates[i]));
        trial.path.certificates[trial.path.count++] = &trial.certificates[i];
    }
    assert_true(credential_digests_of_path(&trial.path, &trial.digests));
    *state = &trial;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    crl_set_deinit(&t->set);
    return 0;
}

static enum crl_added add(struct trial *t, int ca, struct crl_recipe recipe)
{
    struct crl crl;
    recipe.issuer = ca == ROOT ? "root" : "inter";
    recipe.signer = ca;
    struct made made = crl_make(&recipe);
    assert_int_equal(crl_parse(der_of(&made), &crl), CRL_GOOD);
    return crl_set_add(&t->set, &crl, &t->certificates[ca]);
}

static void assert_flaw(const struct trial *t, int64_t now, enum certificate_flaw flaw, size_t at)
{
    size_t found = 99;
    assert_int_equal(crl_set_check(&t->set, &t->path, &t->digests, now, &found), flaw);
    if (flaw != FLAW_NONE)
        assert_int_equal(found, at);
}

static void every_ca_of_the_path_must_have_one(void **state)
{
    struct trial *t = *state;
    assert_flaw(t, NOW, FLAW_NO_CRL, 0);
    assert_int_equal(add(t, ROOT, (struct crl_recipe){0}), CRL_ADDED);
    assert_flaw(t, NOW, FLAW_NO_CRL, 0);
    assert_int_equal(add(t, INTER, (struct crl_recipe){0}), CRL_ADDED);
    assert_flaw(t, NOW, FLAW_NONE, 0);
    crl_set_deinit(&t->set);
    assert_int_equal(add(t, INTER, (struct crl_recipe){0}), CRL_ADDED);
    assert_flaw(t, NOW, FLAW_NO_CRL, 1);
    /* Where the path ends at a CA that has not issued itself, there is none to ask for. */
    t->path.count = 2;
    assert_flaw(t, NOW, FLAW_NONE, 0);
}

static void each_certificate_may_be_revoked(void **state)
{
    static const char *const serials[PATH_COUNT] = {"\3", "\2", "\1"};
    struct trial *t = *state;
    for (size_t at = 0; at < PATH_COUNT; at++) {
        crl_set_deinit(&t->set);
        add(t, at == 0 ? INTER : ROOT, (struct crl_recipe){.serials = {"\x55", serials[at]}});
        add(t, at == 0 ? ROOT : INTER, (struct crl_recipe){0});
        assert_flaw(t, NOW, FLAW_REVOKED, at);
        for (size_t i = 0; i < PATH_COUNT; i++)
            assert_int_equal(crl_set_has(&t->set, t->digests.at[1 + i]), i == at);
        assert_int_equal(crl_set_revoked(&t->set), 2);
        /* In the CRL of the other CA the number means another certificate. */
        crl_set_deinit(&t->set);
        add(t, at == 0 ? ROOT : INTER, (struct crl_recipe){.serials = {serials[at]}});
        add(t, at == 0 ? INTER : ROOT, (struct crl_recipe){0});
        assert_flaw(t, NOW, FLAW_NONE, 0);
    }
}

static void dates(void **state)
{
    struct trial *t = *state;
    add(t, ROOT, (struct crl_recipe){.this_update = NOW - DAY, .next_update = NOW + 2 * DAY});
    add(t, INTER, (struct crl_recipe){.this_update = NOW, .next_update = NOW + DAY});
    assert_flaw(t, NOW - DAY - 1, FLAW_CRL_NOT_YET, 0);
    assert_flaw(t, NOW - 1, FLAW_CRL_NOT_YET, 0);
    assert_flaw(t, NOW, FLAW_NONE, 0);
    assert_flaw(t, NOW + DAY, FLAW_NONE, 0);
    assert_flaw(t, NOW + DAY + 1, FLAW_CRL_EXPIRED, 0);
    assert_false(crl_set_is_current(&t->set, NOW - 1));
    assert_true(crl_set_is_current(&t->set, NOW + DAY));
    assert_false(crl_set_is_current(&t->set, NOW + DAY + 1));
    assert_int_equal(crl_set_next_update(&t->set), NOW + DAY);
    add(t, INTER, (struct crl_recipe){.this_update = NOW + 1, .next_update = -1});
    assert_flaw(t, NOW + 2 * DAY + 1, FLAW_CRL_EXPIRED, 1);
    assert_int_equal(crl_set_next_update(&t->set), NOW + 2 * DAY);
}

/* What it says of a certificate stays true. */
static void one_that_has_expired_still_revokes(void **state)
{
    struct trial *t = *state;
    add(t, ROOT, (struct crl_recipe){.next_update = NOW - 1});
    add(t, INTER, (struct crl_recipe){.next_update = NOW - 1, .serials = {"\3"}});
    assert_flaw(t, NOW, FLAW_REVOKED, 0);
}

static void the_newest_of_a_ca_counts(void **state)
{
    struct trial *t = *state;
    const struct crl_recipe old = {.this_update = NOW - DAY, .serials = {"\3"}};
    const struct crl_recipe new = {.this_update = NOW};
    add(t, ROOT, new);
    assert_int_equal(add(t, INTER, old), CRL_ADDED);
    assert_flaw(t, NOW, FLAW_REVOKED, 0);
    assert_int_equal(add(t, INTER, new), CRL_NEWER);
    assert_flaw(t, NOW, FLAW_NONE, 0);
    assert_int_equal(add(t, INTER, old), CRL_OLDER);
    assert_flaw(t, NOW, FLAW_NONE, 0);
    assert_int_equal(t->set.count, 2);
}

/* Key and name, whatever else its certificate says. */
static void a_ca_is_found_by_its_key(void **state)
{
    struct trial *t = *state;
    struct certificate other;
    struct recipe recipe = {.subject = "ROOT", .issuer = "x", .key = ROOT, .signer = INTER};
    add(t, ROOT, (struct crl_recipe){0});
    struct made made = certificate_make(&recipe);
    assert_true(certificate_parse(der_of(&made), &other));
    assert_non_null(crl_set_find(&t->set, &other));
    recipe.key = INTER;
    made = certificate_make(&recipe);
    assert_true(certificate_parse(der_of(&made), &other));
    assert_null(crl_set_find(&t->set, &other));
    recipe.key = ROOT;
    recipe.subject = "rooted";
    made = certificate_make(&recipe);
    assert_true(certificate_parse(der_of(&made), &other));
    assert_null(crl_set_find(&t->set, &other));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_ca_of_the_path_must_have_one),
        TEST(each_certificate_may_be_revoked),
        TEST(dates),
        TEST(one_that_has_expired_still_revokes),
        TEST(the_newest_of_a_ca_counts),
        TEST(a_ca_is_found_by_its_key),
    };
    return cmocka_run_group_tests_name("crl_set", tests, certificate_maker_begin,
                                       certificate_maker_end);
}
