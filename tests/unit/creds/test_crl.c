/* crl.c: which CRLs are taken, and what they say; RFC 5280 section 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "creds/certificate_signature.h"
#include "creds/crl.h"
#include "gate/certificate_maker.h"

static enum crl_flaw parse(const struct crl_recipe *recipe, struct made *made, struct crl *crl)
{
    *made = crl_make(recipe);
    return crl_parse(der_of(made), crl);
}

static enum crl_flaw flaw_of(struct crl_recipe recipe)
{
    struct made made;
    struct crl crl;
    recipe.issuer = "ca";
    return parse(&recipe, &made, &crl);
}

static void what_a_good_one_says(void **state)
{
    (void)state;
    struct made made, ca;
    struct crl crl;
    struct certificate issuer;
    struct der serial;
    const struct crl_recipe recipe = {.issuer = "ca",
                                      .signer = 1,
                                      .serials = {"\x05", "\xfe", "\x07"},
                                      .reason = 1,
                                      .entry_extension = 24,
                                      .signer_id = 9,
                                      .this_update = 1700000000,
                                      .next_update = 1800000000};
    assert_int_equal(parse(&recipe, &made, &crl), CRL_GOOD);
    assert_int_equal(crl.this_update, 1700000000);
    assert_int_equal(crl.next_update, 1800000000);
    assert_int_equal(crl.authority_key_id.size, 1);
    assert_int_equal(crl.authority_key_id.bytes[0], 9);
    assert_int_equal(crl.revoked, 3);
    struct der entries = crl.entries;
    for (int i = 0; i < 3; i++) {
        assert_true(crl_next(&entries, &serial));
        assert_int_equal(serial.size, 1);
        assert_int_equal(serial.bytes[0], (uint8_t)recipe.serials[i][0]);
    }
    assert_false(crl_next(&entries, &serial));

    const struct recipe of_ca = {.subject = "ca", .issuer = "ca", .key = 1, .signer = 1};
    ca = certificate_make(&of_ca);
    assert_true(certificate_parse(der_of(&ca), &issuer));
    assert_true(der_is_equal(crl.issuer, issuer.subject));
    assert_int_equal(certificate_signature_algorithm(&crl.signed_part), FLAW_NONE);
    assert_true(certificate_signature_is_of(&crl.signed_part, &issuer));
    made.bytes[made.size - 1] ^= 1;
    assert_false(certificate_signature_is_of(&crl.signed_part, &issuer));
}

static void old_and_short_ones(void **state)
{
    (void)state;
    struct made made;
    struct crl crl;
    struct crl_recipe recipe = {.issuer = "ca", .version = 1, .serials = {"\1"}};
    assert_int_equal(parse(&recipe, &made, &crl), CRL_GOOD);
    assert_int_equal(crl.revoked, 1);
    recipe.next_update = -1;
    assert_int_equal(parse(&recipe, &made, &crl), CRL_GOOD);
    assert_true(crl.next_update == CRL_NEVER);
    recipe.serials[0] = NULL;
    assert_int_equal(parse(&recipe, &made, &crl), CRL_GOOD);
    assert_int_equal(crl.revoked, 0);
    assert_int_equal(flaw_of((struct crl_recipe){.version = 3}), CRL_UNREADABLE);
}

static void only_complete_ones_are_taken(void **state)
{
    (void)state;
    for (int is_critical = 0; is_critical <= 1; is_critical++) {
        struct crl_recipe recipe = {.is_critical = is_critical, .extensions = {27}};
        assert_int_equal(flaw_of(recipe), CRL_DELTA);
        recipe.extensions[0] = 28;
        assert_int_equal(flaw_of(recipe), CRL_PARTIAL);
        recipe.extensions[0] = 18; /* issuerAltName */
        assert_int_equal(flaw_of(recipe), is_critical ? CRL_CRITICAL : CRL_GOOD);
        recipe.extensions[1] = 18;
        assert_int_equal(flaw_of(recipe), is_critical ? CRL_CRITICAL : CRL_UNREADABLE);
        recipe = (struct crl_recipe){
            .serials = {"\1"}, .entry_extension = 29, .is_entry_critical = is_critical};
        assert_int_equal(flaw_of(recipe), CRL_INDIRECT);
        recipe.entry_extension = 60;
        assert_int_equal(flaw_of(recipe), is_critical ? CRL_CRITICAL : CRL_GOOD);
    }
}

/* A reason that takes the certificate off the list. */
static void what_is_not_revoked_any_more(void **state)
{
    (void)state;
    struct made made;
    struct crl crl;
    struct der serial;
    const struct crl_recipe recipe = {.issuer = "ca", .serials = {"\1", "\2"}, .reason = 8};
    assert_int_equal(parse(&recipe, &made, &crl), CRL_GOOD);
    assert_int_equal(crl.revoked, 0);
    struct der entries = crl.entries;
    assert_false(crl_next(&entries, &serial));
}

static void cut_and_lengthened_ones_are_refused(void **state)
{
    (void)state;
    struct crl crl;
    const struct crl_recipe recipe = {.issuer = "ca", .serials = {"\1", "\2"}, .signer_id = 1};
    struct made made = crl_make(&recipe);
    for (size_t size = 0; size < made.size; size++) {
        uint8_t *copy = malloc(size + 1); /* of its own, so that a sanitizer sees its end */
        assert_non_null(copy);
        memcpy(copy, made.bytes, size);
        assert_int_equal(crl_parse((struct der){copy, size}, &crl), CRL_UNREADABLE);
        free(copy);
    }
    made.bytes[made.size++] = 0;
    assert_int_equal(crl_parse(der_of(&made), &crl), CRL_UNREADABLE);
    const struct recipe certificate = {.subject = "ca", .issuer = "ca"};
    made = certificate_make(&certificate);
    assert_int_equal(crl_parse(der_of(&made), &crl), CRL_UNREADABLE);
}

static void every_flaw_has_words(void **state)
{
    (void)state;
    for (enum crl_flaw flaw = CRL_UNREADABLE; flaw <= CRL_CRITICAL; flaw++)
        assert_string_not_equal(crl_flaw_text(flaw), crl_flaw_text(CRL_GOOD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_good_one_says),
        cmocka_unit_test(old_and_short_ones),
        cmocka_unit_test(only_complete_ones_are_taken),
        cmocka_unit_test(what_is_not_revoked_any_more),
        cmocka_unit_test(cut_and_lengthened_ones_are_refused),
        cmocka_unit_test(every_flaw_has_words),
    };
    return cmocka_run_group_tests_name("crl", tests, certificate_maker_begin,
                                       certificate_maker_end);
}
