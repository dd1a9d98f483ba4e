/* worker/worker_time.c: which clock. What it makes of the loop is seen in test_worker.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/worker_time.h"

/* The times in a state that was written before a reboot are later than any of this boot. */
static void sessions_live_by_the_clock_of_the_state(void **state)
{
    static struct worker worker;
    static struct state it;
    struct err err;
    const uint64_t later_ms = 100ull * 365 * 86400 * 1000;
    (void)state;
    assert_true(state_create(&it, &err));
    worker.datapath.backend.state = &it;
    uint64_t monotonic_ms = worker_time_ns(CLOCK_MONOTONIC) / 1000000;
    assert_in_range(worker_time_ms(&worker), monotonic_ms, monotonic_ms + 60000);
    state_set_clock(&it, later_ms);
    assert_in_range(worker_time_ms(&worker), later_ms, later_ms + 60000);
    state_close(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_live_by_the_clock_of_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
