/* state_starts.c: which processes had the state before, and how they ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_state.h"
#include "state/state_starts.h"

static void three_crashes_in_a_minute(void **at)
{
    struct state *state = *at;
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 0);
    state_starts_note(state, "1.0");
    assert_int_equal(state_starts_count(state), 1);
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 0); /* itself is no crash */
    assert_false(state_starts_is_after_crash(state));
    state_starts_note_ready(state);
    state_starts_note(state, "1.0");
    assert_true(state_starts_is_after_crash(state));
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 1);
    state_starts_note(state, "1.0");
    state_starts_note_ready(state);
    state_starts_note(state, "1.0");
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 3);
    state_set_clock(state, state_now_ms(state) + 61000);
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 0);
    assert_int_equal(state_starts_count(state), 4);
}

static void who_goes_in_good_order_has_not_crashed(void **at)
{
    struct state *state = *at;
    for (int i = 0; i < 100; i++) {
        state_starts_note(state, "1.0");
        state_starts_note_ready(state);
        state_starts_note_stop(state);
    }
    state_starts_note(state, "1.0");
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 0);
    assert_false(state_starts_is_after_crash(state));
}

static void a_version_that_does_not_come_up(void **at)
{
    struct state *state = *at;
    state_starts_note(state, "1.0");
    state_starts_note_ready(state);
    state_starts_note(state, "2.0");
    assert_int_equal(state_starts_failed(state, "2.0"), 0);
    state_starts_note(state, "2.0");
    assert_int_equal(state_starts_failed(state, "2.0"), 1);
    state_starts_note(state, "2.0");
    assert_int_equal(state_starts_failed(state, "2.0"), 2);
    assert_int_equal(state_starts_failed(state, "1.0"), 0);
    assert_int_equal(state_starts_crashes_within(state, "2.0", 60000), 2);
    assert_int_equal(state_starts_crashes_within(state, "1.0", 60000), 1);
    state_starts_note_ready(state);
    state_starts_note(state, "2.0");
    assert_int_equal(state_starts_failed(state, "2.0"), 0);
}

static void names_may_be_long_and_starts_many(void **at)
{
    struct state *state = *at;
    char build[2 * LAYOUT_BUILD_MAX];
    memset(build, 'x', sizeof(build));
    build[sizeof(build) - 1] = '\0';
    for (int i = 0; i < 3 * LAYOUT_STARTS_MAX; i++)
        state_starts_note(state, build);
    assert_int_equal(state_starts_failed(state, build), LAYOUT_STARTS_MAX - 1);
    assert_int_equal(state_starts_crashes_within(state, build, 60000), LAYOUT_STARTS_MAX - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, gate_state_set_up, gate_state_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(three_crashes_in_a_minute),
        TEST(who_goes_in_good_order_has_not_crashed),
        TEST(a_version_that_does_not_come_up),
        TEST(names_may_be_long_and_starts_many),
    };
    return cmocka_run_group_tests_name("state_starts", tests, NULL, NULL);
}
