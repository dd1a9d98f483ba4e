/* creds_crl.c: CRLs out of files, and what is said about those that cannot be used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "creds/creds_crl.h"
#include "gate/certificate_maker.h"

enum { ROOT, SECOND, INTER, STRANGER, FILES_MAX = 2 };

struct trial {
    char folder[64], paths[FILES_MAX][96];
    FILE *files[FILES_MAX];
    struct certificate_anchors anchors;
    struct config_paths config;
    struct problems problems;
    struct crl_set set;
};

static void clear(struct trial *t)
{
    for (int i = 0; i < FILES_MAX; i++) {
        if (t->files[i] != NULL)
            fclose(t->files[i]);
        t->files[i] = NULL;
        unlink(t->paths[i]);
    }
    crl_set_deinit(&t->set);
    problems_deinit(&t->problems);
}

static int set_up(void **state)
{
    static struct trial trial;
    char folder[] = "/tmp/test_creds_crl.XXXXXX";
    trial = (struct trial){0};
    assert_non_null(mkdtemp(folder));
    strcpy(trial.folder, folder);
    for (int i = 0; i < FILES_MAX; i++) {
        snprintf(trial.paths[i], sizeof(trial.paths[i]), "%s/%d.crl", folder, i);
        trial.config.at[i] = trial.paths[i];
    }
    *state = &trial;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    clear(t);
    certificate_anchors_deinit(&t->anchors);
    rmdir(t->folder);
    return 0;
}

static void put_text(struct trial *t, int file, const char *text)
{
    if (t->files[file] == NULL)
        t->files[file] = fopen(t->paths[file], "w");
    assert_non_null(t->files[file]);
    assert_true(fputs(text, t->files[file]) >= 0);
}

static void put(struct trial *t, int file, struct made made, bool is_crl)
{
    char *text = made_as_pem(&made, is_crl);
    put_text(t, file, text);
    free(text);
}

static void put_crl(struct trial *t, int file, struct crl_recipe recipe)
{
    put(t, file, crl_make(&recipe), true);
}

static struct made make_ca(const char *name, int key, int key_usage)
{
    const struct recipe recipe = {.subject = name,
                                  .issuer = name,
                                  .key = key,
                                  .signer = key,
                                  .is_ca = true,
                                  .own_id = 1 + key,
                                  .key_usage = key_usage};
    return certificate_make(&recipe);
}

static void trust(struct trial *t, const char *name, int key, int key_usage)
{
    struct made made = make_ca(name, key, key_usage);
    assert_int_equal(certificate_anchors_add(&t->anchors, der_of(&made)), ANCHOR_ADDED);
}

/* Loads what was put into the files, and leaves them empty. */
static void load(struct trial *t, uint32_t files)
{
    for (int i = 0; i < FILES_MAX; i++)
        if (t->files[i] != NULL)
            assert_int_equal(fflush(t->files[i]), 0);
    crl_set_deinit(&t->set);
    problems_deinit(&t->problems);
    t->config.count = files;
    creds_crl_load(&t->set, &t->anchors, &t->config, "WHERE", &t->problems);
    for (int i = 0; i < FILES_MAX; i++) {
        if (t->files[i] != NULL)
            fclose(t->files[i]);
        t->files[i] = NULL;
    }
}

/* The one problem there is. */
static void assert_problem(const struct trial *t, bool is_error, const char *part)
{
    if (t->problems.count != 1 || strstr(t->problems.texts[0], part) == NULL ||
        t->problems.error_count != is_error)
        for (uint32_t i = 0; i < t->problems.count; i++)
            print_message("%s\n", t->problems.texts[i]);
    assert_int_equal(t->problems.count, 1);
    assert_non_null(strstr(t->problems.texts[0], part));
    assert_int_equal(t->problems.error_count, is_error);
}

static void several_in_several_files(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    trust(t, "second", SECOND, 0);
    put_text(t, 0, "made by hand\n");
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT, .serials = {"\1", "\2"}});
    put_crl(t, 1, (struct crl_recipe){.issuer = "SECOND", .signer = SECOND, .signer_id = 2});
    load(t, 2);
    assert_int_equal(t->problems.count, 0);
    assert_int_equal(t->set.count, 2);
    assert_int_equal(crl_set_revoked(&t->set), 2);
}

/* Of one name, as while a CA changes its key: each has its own, found by its signature. */
static void two_keys_of_one_name(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    trust(t, "root", SECOND, 0);
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = SECOND});
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    load(t, 1);
    assert_int_equal(t->problems.count, 0);
    assert_int_equal(t->set.count, 2);
}

static void a_ca_without_one(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    trust(t, "second", SECOND, 0);
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    load(t, 1);
    assert_problem(t, true, "WHERE: there is no CRL of CN=second, a CA of client_ca; every CA");
}

/* A certificate in the file verifies, and does not trust. */
static void of_a_ca_that_devices_show(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    const struct crl_recipe of_inter = {.issuer = "inter", .signer = INTER};
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    put_crl(t, 0, of_inter);
    load(t, 1);
    assert_problem(t, false, "WHERE: CRL 2 is not used: its CA, CN=inter, is not in client_ca");
    assert_int_equal(t->set.count, 1);

    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    put_crl(t, 0, of_inter);
    put(t, 1, make_ca("inter", INTER, 0), false);
    load(t, 2);
    assert_int_equal(t->problems.count, 0);
    assert_int_equal(t->set.count, 2);
    assert_int_equal(t->anchors.count, 1);
}

static void those_that_cannot_be_used(void **state)
{
    static const struct {
        struct crl_recipe recipe;
        const char *why;
    } cases[] = {
        {{.is_forged = true}, "its signature is not of the CA that it names"},
        {{.signer = STRANGER, .signer_id = 1}, "its signature is not of the CA that it names"},
        {{.is_sha1 = true}, "it is signed with MD5 or SHA-1"},
        {{.extensions = {27}, .is_critical = true}, "it is a delta CRL"},
        {{.extensions = {28}, .is_critical = true}, "issuingDistributionPoint"},
        {{.extensions = {60}, .is_critical = true}, "critical extension"},
        {{.serials = {"\1"}, .entry_extension = 29}, "an indirect CRL"},
        {{.version = 3}, "it cannot be read as a CRL"},
    };
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct crl_recipe recipe = cases[i].recipe;
        recipe.issuer = "root";
        put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
        put_crl(t, 0, recipe);
        load(t, 1);
        assert_problem(t, true, "WHERE: CRL 2 cannot be used: ");
        assert_problem(t, true, cases[i].why);
    }
}

static void key_usage_must_allow_it(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, KEY_USAGE_CERT_SIGN);
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    load(t, 1);
    assert_problem(t, true, "CRL 1 cannot be used: the key usage of its CA does not include");
    certificate_anchors_deinit(&t->anchors);
    trust(t, "root", ROOT, KEY_USAGE_CERT_SIGN | KEY_USAGE_CRL_SIGN);
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    load(t, 1);
    assert_int_equal(t->problems.count, 0);
}

static void dates_are_warned_of(void **state)
{
    struct trial *t = *state;
    int64_t now = (int64_t)time(NULL);
    trust(t, "root", ROOT, 0);
    struct crl_recipe recipe = {.issuer = "root", .signer = ROOT, .next_update = now - 60};
    put_crl(t, 0, recipe);
    load(t, 1);
    assert_problem(t, false, "CRL 1 expired on 2");
    recipe = (struct crl_recipe){.issuer = "root", .this_update = now + 60};
    put_crl(t, 0, recipe);
    load(t, 1);
    assert_problem(t, false, "CRL 1 is not valid before 2");
    recipe = (struct crl_recipe){.issuer = "root", .next_update = -1};
    put_crl(t, 0, recipe);
    load(t, 1);
    assert_problem(t, false, "CRL 1 does not say when the next one is due");
    /* One that is not the newest is not told of. */
    recipe = (struct crl_recipe){.issuer = "root", .this_update = now - 60};
    put_crl(t, 0, recipe);
    recipe = (struct crl_recipe){.issuer = "root", .next_update = now - 120};
    put_crl(t, 0, recipe);
    load(t, 1);
    assert_int_equal(t->problems.count, 0);
}

static void files_that_hold_none(void **state)
{
    struct trial *t = *state;
    trust(t, "root", ROOT, 0);
    load(t, 1);
    assert_problem(t, true, "WHERE: the file cannot be opened: No such file");
    put_crl(t, 0, (struct crl_recipe){.issuer = "root", .signer = ROOT});
    load(t, 2);
    assert_problem(t, true, "/1.crl: the file cannot be opened: No such file");
    put_text(t, 0, "nothing\n");
    load(t, 1);
    assert_problem(t, true, "holds no PEM CRL; expected \"-----BEGIN X509 CRL-----\"");
    put_text(t, 0, "\x30\x03\x02\x01\x01");
    load(t, 1);
    assert_problem(t, true, "if it is one in DER, run: openssl crl -inform DER -in /tmp/");
    put_text(t, 0, "-----BEGIN X509 CRL-----\n?\n-----END X509 CRL-----\n");
    load(t, 1);
    assert_problem(t, true, "CRL 1 cannot be used: it cannot be read as a CRL");
    put_text(t, 0, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    load(t, 1);
    assert_problem(t, true, "certificate 1 cannot be used: it cannot be read");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(several_in_several_files),  TEST(two_keys_of_one_name),
        TEST(a_ca_without_one),          TEST(of_a_ca_that_devices_show),
        TEST(those_that_cannot_be_used), TEST(key_usage_must_allow_it),
        TEST(dates_are_warned_of),       TEST(files_that_hold_none),
    };
    return cmocka_run_group_tests_name("creds_crl", tests, certificate_maker_begin,
                                       certificate_maker_end);
}
