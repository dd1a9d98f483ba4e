#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest_set.h"

/* The n-th of some that look random, by the steps of a multiplicative generator. */
static void make(uint32_t n, uint8_t digest[DIGEST_SET_BYTES])
{
    uint64_t x = n + 1;
    for (int i = 0; i < DIGEST_SET_BYTES; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        digest[i] = (uint8_t)(x >> 56);
    }
}

static void what_is_in_is_found_and_nothing_else(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct digest_set set;
    uint8_t digest[DIGEST_SET_BYTES];
    assert_true(digest_set_init(&set, COUNT));
    for (uint32_t n = 0; n < COUNT; n++) {
        make(n, digest);
        assert_false(digest_set_has(&set, digest));
        assert_true(digest_set_add(&set, digest));
        assert_false(digest_set_add(&set, digest));
    }
    assert_int_equal(set.count, COUNT);
    for (uint32_t n = 0; n < 2 * COUNT; n++) {
        make(n, digest);
        assert_int_equal(digest_set_has(&set, digest), n < COUNT);
        digest[DIGEST_SET_BYTES - 1] ^= 1; /* not where it is looked for, but what is compared */
        assert_false(digest_set_has(&set, digest));
    }
    digest_set_deinit(&set);
    assert_int_equal(set.count, 0);
}

/* All begin alike, at the end of the slots: the search goes on at the beginning. */
static void digests_that_begin_alike(void **state)
{
    (void)state;
    struct digest_set set;
    uint8_t digest[DIGEST_SET_BYTES];
    memset(digest, 0xff, sizeof(digest));
    assert_true(digest_set_init(&set, 10));
    for (uint8_t n = 0; n < 10; n++) {
        digest[DIGEST_SET_BYTES - 1] = n;
        assert_true(digest_set_add(&set, digest));
    }
    for (uint8_t n = 0; n < 20; n++) {
        digest[DIGEST_SET_BYTES - 1] = n;
        assert_int_equal(digest_set_has(&set, digest), n < 10);
    }
    digest_set_deinit(&set);
}

static void an_empty_one_has_nothing(void **state)
{
    (void)state;
    struct digest_set set = {0};
    uint8_t digest[DIGEST_SET_BYTES];
    make(1, digest);
    assert_false(digest_set_has(&set, digest));
    digest_set_deinit(&set);
    assert_true(digest_set_init(&set, 0));
    assert_false(digest_set_has(&set, digest));
    digest_set_deinit(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_is_found_and_nothing_else),
        cmocka_unit_test(digests_that_begin_alike),
        cmocka_unit_test(an_empty_one_has_nothing),
    };
    return cmocka_run_group_tests_name("digest_set", tests, NULL, NULL);
}
