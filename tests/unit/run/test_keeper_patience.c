/* When the keeper kills its gate, by a clock of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/keeper_patience.h"

enum { T = 1000000 };

static void assert_lasts_until(const struct keeper_patience *patience, uint64_t end_ms,
                               const char *why)
{
    assert_null(keeper_patience_is_over(patience, end_ms - 1));
    assert_string_equal(keeper_patience_is_over(patience, end_ms), why);
}

static void test_nothing_is_expected_of_no_gate(void **state)
{
    struct keeper_patience patience = {0};
    (void)state;
    assert_null(keeper_patience_is_over(&patience, T));
    keeper_patience_ready(&patience, T); /* of one that was killed a moment ago */
    keeper_patience_well(&patience, T);
    assert_null(keeper_patience_is_over(&patience, 2 * T));
}

static void test_a_gate_that_hangs_before_it_is_ready(void **state)
{
    struct keeper_patience patience = {0};
    (void)state;
    keeper_patience_begin(&patience, T);
    keeper_patience_well(&patience, T + 1000);
    assert_lasts_until(&patience, T + KEEPER_PATIENCE_START_MS, "it does not become ready");
}

static void test_a_gate_that_hangs_later(void **state)
{
    static const char WHY[] = "it has not shown that it is well";
    struct keeper_patience patience = {0};
    (void)state;
    keeper_patience_begin(&patience, T);
    keeper_patience_ready(&patience, T + 100);
    assert_lasts_until(&patience, T + 100 + KEEPER_PATIENCE_WATCHDOG_MS, WHY);
    keeper_patience_well(&patience, T + 1000);
    assert_lasts_until(&patience, T + 1000 + KEEPER_PATIENCE_WATCHDOG_MS, WHY);
    keeper_patience_ready(&patience, T + 2000); /* after an upgrade in place */
    assert_lasts_until(&patience, T + 2000 + KEEPER_PATIENCE_WATCHDOG_MS, WHY);
}

/* Before it is ready and after that. */
static void test_who_is_told_to_end_twice_has_no_more_time(void **state)
{
    struct keeper_patience patience = {0};
    (void)state;
    for (int is_ready = 0; is_ready < 2; is_ready++) {
        keeper_patience_begin(&patience, T);
        if (is_ready)
            keeper_patience_ready(&patience, T + 100);
        keeper_patience_end(&patience, T + 1000);
        keeper_patience_end(&patience, T + 5000);
        keeper_patience_ready(&patience, T + 6000);
        keeper_patience_well(&patience, T + 7000);
        assert_lasts_until(&patience, T + 1000 + KEEPER_PATIENCE_END_MS, "it does not end");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_expected_of_no_gate),
        cmocka_unit_test(test_a_gate_that_hangs_before_it_is_ready),
        cmocka_unit_test(test_a_gate_that_hangs_later),
        cmocka_unit_test(test_who_is_told_to_end_twice_has_no_more_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
