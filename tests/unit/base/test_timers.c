#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/timers.h"

struct owner {
    int before;
    struct timer timer;
    int number;
};

static void test_empty(void **state)
{
    (void)state;
    struct timers timers;
    struct timer timer = {0};
    timers_init(&timers);
    assert_true(timers_next_due_ms(&timers) == TIMERS_NONE);
    assert_null(timers_take_due(&timers, UINT64_MAX));
    timers_cancel(&timers, &timer);
    assert_true(timers_reserve(&timers, 0));
    timers_deinit(&timers);
}

static void test_due_in_order_and_not_early(void **state)
{
    (void)state;
    struct timers timers;
    struct owner owners[5] = {0};
    const uint64_t due_ms[5] = {500, 100, 400, 200, 300};
    timers_init(&timers);
    assert_true(timers_reserve(&timers, 5));
    for (int i = 0; i < 5; i++) {
        owners[i].number = i;
        timers_set(&timers, &owners[i].timer, due_ms[i]);
    }
    assert_int_equal(timers_next_due_ms(&timers), 100);
    assert_null(timers_take_due(&timers, 99));
    const int order[5] = {1, 3, 4, 2, 0};
    for (int i = 0; i < 5; i++) {
        struct timer *timer = timers_take_due(&timers, 500);
        assert_non_null(timer);
        assert_int_equal(timer->place, 0);
        assert_int_equal(TIMER_OWNER(timer, struct owner, timer)->number, order[i]);
    }
    assert_null(timers_take_due(&timers, UINT64_MAX));
    timers_deinit(&timers);
}

static void test_move_and_cancel(void **state)
{
    (void)state;
    struct timers timers;
    struct timer a = {0}, b = {0};
    timers_init(&timers);
    assert_true(timers_reserve(&timers, 2));
    timers_set(&timers, &a, 10);
    timers_set(&timers, &b, 20);
    timers_set(&timers, &a, 30); /* later */
    assert_int_equal(timers_next_due_ms(&timers), 20);
    timers_set(&timers, &a, 5); /* earlier */
    assert_int_equal(timers_next_due_ms(&timers), 5);
    timers_set(&timers, &a, TIMERS_NONE);
    assert_int_equal(a.place, 0);
    assert_true(timers_due_ms(&timers, &a) == TIMERS_NONE);
    assert_int_equal(timers_due_ms(&timers, &b), 20);
    assert_int_equal(timers_next_due_ms(&timers), 20);
    timers_cancel(&timers, &b);
    timers_cancel(&timers, &b);
    assert_true(timers_next_due_ms(&timers) == TIMERS_NONE);
    timers_set(&timers, &b, 7); /* may be set again */
    assert_ptr_equal(timers_take_due(&timers, 7), &b);
    timers_deinit(&timers);
}

static void test_reserve_keeps_what_is_set(void **state)
{
    (void)state;
    struct timers timers;
    static struct timer many[1000];
    timers_init(&timers);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(timers_reserve(&timers, i + 1));
        timers_set(&timers, &many[i], 1000 - i);
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_ptr_equal(timers_take_due(&timers, 1000), &many[999 - i]);
    timers_deinit(&timers);
}

/* The model is an array that is searched from end to end. */
enum { MODEL_COUNT = 150 };

static uint64_t model_next(const uint64_t *due_ms)
{
    uint64_t next = TIMERS_NONE;
    for (int i = 0; i < MODEL_COUNT; i++)
        if (due_ms[i] < next)
            next = due_ms[i];
    return next;
}

/* By way of the chunks; TEST_CHUNK is timers.c's. */
enum { TEST_CHUNK = 4096 };
static const struct timers_entry *at_place(const struct timers *timers, uint32_t place)
{
    return &timers->chunks[(place - 1) / TEST_CHUNK][(place - 1) % TEST_CHUNK];
}

static void check_places(const struct timers *timers)
{
    for (uint32_t place = 1; place <= timers->count; place++) {
        assert_int_equal(at_place(timers, place)->timer->place, place);
        if (place > 1)
            assert_true(at_place(timers, place / 2)->due_ms <= at_place(timers, place)->due_ms);
    }
}

static void test_random_against_model(void **state)
{
    (void)state;
    struct timers timers;
    static struct timer all[MODEL_COUNT];
    uint64_t due_ms[MODEL_COUNT];
    uint64_t now_ms = 0;
    unsigned short seed[3] = {1, 2, 3};
    timers_init(&timers);
    assert_true(timers_reserve(&timers, MODEL_COUNT));
    for (int i = 0; i < MODEL_COUNT; i++)
        due_ms[i] = TIMERS_NONE;
    for (int step = 0; step < 100000; step++) {
        int i = (int)(nrand48(seed) % MODEL_COUNT);
        long what = nrand48(seed) % 10;
        if (what < 6) {
            due_ms[i] = now_ms + (uint64_t)(nrand48(seed) % 50); /* many equal deadlines */
            timers_set(&timers, &all[i], due_ms[i]);
        } else if (what < 8) {
            due_ms[i] = TIMERS_NONE;
            timers_cancel(&timers, &all[i]);
        } else {
            now_ms += (uint64_t)(nrand48(seed) % 5);
            struct timer *timer;
            while ((timer = timers_take_due(&timers, now_ms)) != NULL) {
                uint64_t *taken = &due_ms[timer - all];
                assert_true(*taken <= now_ms && *taken == model_next(due_ms));
                *taken = TIMERS_NONE;
            }
            assert_true(model_next(due_ms) > now_ms);
        }
        assert_true(timers_next_due_ms(&timers) == model_next(due_ms));
        assert_true(timers_due_ms(&timers, &all[i]) == due_ms[i]);
        if (step % 100 == 0)
            check_places(&timers);
    }
    timers_deinit(&timers);
}

/* Many chunks: parents and children are in different ones, and a heap that has shrunk fills again
 * what it has. */
static void test_many_chunks(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct timers timers;
    static struct timer all[COUNT];
    static uint64_t due_ms[COUNT]; /* TIMERS_NONE: cancelled, or taken */
    unsigned short seed[3] = {4, 5, 6};
    timers_init(&timers);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_true(timers_reserve(&timers, i + 1));
            due_ms[i] = (uint64_t)(nrand48(seed) % 100000);
            timers_set(&timers, &all[i], due_ms[i]);
        }
        assert_int_equal(timers.count, COUNT);
        assert_int_equal(timers.chunk_count, (COUNT + TEST_CHUNK - 1) / TEST_CHUNK);
        check_places(&timers);
        for (uint32_t i = 0; i < COUNT; i += 3) {
            due_ms[i] = (uint64_t)(nrand48(seed) % 100000);
            timers_set(&timers, &all[i], due_ms[i]);
        }
        for (uint32_t i = 1; i < COUNT; i += 3) {
            due_ms[i] = TIMERS_NONE;
            timers_cancel(&timers, &all[i]);
        }
        check_places(&timers);
        uint32_t left = timers.count;
        uint64_t last_ms = 0;
        for (struct timer *timer; (timer = timers_take_due(&timers, UINT64_MAX)) != NULL; left--) {
            uint64_t *due = &due_ms[timer - all];
            assert_true(*due >= last_ms && *due != TIMERS_NONE);
            last_ms = *due;
            *due = TIMERS_NONE;
        }
        assert_int_equal(left, 0);
    }
    timers_deinit(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_due_in_order_and_not_early),
        cmocka_unit_test(test_move_and_cancel),
        cmocka_unit_test(test_reserve_keeps_what_is_set),
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_many_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
