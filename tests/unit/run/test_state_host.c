/* Which machine and which boot a state is of, and how old it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "run/state_host.h"

static const struct state_host then = {
    .boot_id = "boot 1", .machine_id = "machine 1", .wall_ms = 1000000, .since_boot_ms = 5000};

static void this_host_is_known(void **state)
{
    struct state_host host, again;
    struct err err;
    (void)state;
    assert_true(state_host_read(&host, &err));
    assert_true(state_host_read(&again, &err));
    assert_true(state_host_is_same_boot(&host, &again));
    assert_true(state_host_is_same_machine(&host, &again));
    assert_in_range(state_host_age_ms(&host, &again), 0, 10000);
    assert_true(host.wall_ms / 1000 <= (uint64_t)time(NULL));
    assert_in_range((uint64_t)time(NULL) - host.wall_ms / 1000, 0, 10);
    static const uint8_t none[STATE_HOST_ID_BYTES];
    assert_memory_not_equal(host.boot_id, none, sizeof(none));
}

static void a_machine_is_known_by_its_id_or_else_by_its_boot(void **state)
{
    struct state_host now = then;
    (void)state;
    assert_true(state_host_is_same_boot(&then, &now));
    memcpy(now.boot_id, "boot 2", 6);
    assert_false(state_host_is_same_boot(&then, &now));
    assert_true(state_host_is_same_machine(&then, &now));
    memcpy(now.machine_id, "machine 2", 9);
    assert_false(state_host_is_same_machine(&then, &now));
    memset(now.machine_id, 0, sizeof(now.machine_id));
    assert_false(state_host_has_machine_id(&now));
    assert_false(state_host_is_same_machine(&then, &now));
    memcpy(now.boot_id, then.boot_id, sizeof(now.boot_id));
    assert_true(state_host_is_same_machine(&then, &now));
    assert_true(state_host_is_same_machine(&now, &then));
}

/* Within a boot the clock that nobody sets counts, else that on the wall. */
static void age(void **state)
{
    struct state_host now = then;
    (void)state;
    now.since_boot_ms += 70;
    now.wall_ms -= 900000;
    assert_int_equal(state_host_age_ms(&then, &now), 70);
    memcpy(now.boot_id, "boot 2", 6);
    assert_int_equal(state_host_age_ms(&then, &now), -900000);
    now.wall_ms = then.wall_ms + 20000;
    now.since_boot_ms = 1;
    assert_int_equal(state_host_age_ms(&then, &now), 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_host_is_known),
        cmocka_unit_test(a_machine_is_known_by_its_id_or_else_by_its_boot),
        cmocka_unit_test(age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
