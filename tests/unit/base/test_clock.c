/* Milliseconds are those of the kernel's clocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static uint64_t read_us(clockid_t clock)
{
    struct timespec now;
    assert_int_equal(clock_gettime(clock, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Cut, so that a deadline is never early by more than one. */
static void assert_between(uint64_t before_us, uint64_t ms, uint64_t after_us)
{
    assert_in_range(ms, before_us / 1000, after_us / 1000);
}

static void test_it_is_the_kernels(void **state)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
    (void)state;
    for (int i = 0; i < 3000; i++) {
        clockid_t clock = clocks[i % 3];
        uint64_t before_us = read_us(clock), ms = clock_ms(clock);
        assert_between(before_us, ms, read_us(clock));
        before_us = read_us(CLOCK_MONOTONIC);
        ms = clock_now_ms();
        assert_between(before_us, ms, read_us(CLOCK_MONOTONIC));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_the_kernels),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
