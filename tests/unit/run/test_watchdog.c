#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include "fakes/fake_log.h"
#include "run/watchdog.h"

enum { WORKERS = 3 };

struct fixture {
    struct worker_counters workers[WORKERS];
    const struct worker_counters *pointers[WORKERS];
    struct watchdog_log log;
};

static struct fixture gate;

static int set_up(void **state)
{
    gate = (struct fixture){0};
    for (int w = 0; w < WORKERS; w++)
        gate.pointers[w] = &gate.workers[w];
    fake_log_reset();
    *state = &gate;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_reset();
    return 0;
}

static void set_seen(struct fixture *f, uint64_t first_ms, uint64_t second_ms, uint64_t third_ms)
{
    f->workers[0].seen_ms = first_ms;
    f->workers[1].seen_ms = second_ms;
    f->workers[2].seen_ms = third_ms;
}

static void test_late(void **state)
{
    struct fixture *f = *state;
    const uint64_t now_ms = 1000000;
    struct watchdog_verdict verdict = watchdog_look(f->pointers, WORKERS, now_ms);
    assert_int_equal(verdict.late, 0); /* none was started */
    assert_int_equal(verdict.silent_ms, 0);

    set_seen(f, now_ms, now_ms - WATCHDOG_LATE_MS + 1, now_ms + 5); /* the last was faster */
    verdict = watchdog_look(f->pointers, WORKERS, now_ms);
    assert_int_equal(verdict.late, 0);
    assert_int_equal(verdict.worker, 1);
    assert_int_equal(verdict.silent_ms, WATCHDOG_LATE_MS - 1);

    set_seen(f, now_ms - WATCHDOG_LATE_MS, now_ms, now_ms - 123456);
    verdict = watchdog_look(f->pointers, WORKERS, now_ms);
    assert_int_equal(verdict.late, 2);
    assert_int_equal(verdict.worker, 2);
    assert_int_equal(verdict.silent_ms, 123456);
}

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *show_soon(void *argument)
{
    static const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    counter *seen_ms = argument;
    nanosleep(&pause, NULL);
    *seen_ms = clock_ms();
    return NULL;
}

/* A worker that was asleep together with the one that asks is given time to show itself. */
static void test_second_look(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    uint64_t begin_ms = clock_ms();
    set_seen(f, begin_ms, begin_ms - 20000, begin_ms);
    assert_true(watchdog_look_twice(f->pointers, WORKERS).silent_ms >= 20000);
    assert_true(clock_ms() - begin_ms >= 500);

    assert_int_equal(pthread_create(&thread, NULL, show_soon, &f->workers[1].seen_ms), 0);
    assert_true(watchdog_look_twice(f->pointers, WORKERS).silent_ms < WATCHDOG_FAILED_MS);
    pthread_join(thread, NULL);
}

static void test_log(void **state)
{
    struct fixture *f = *state;
    uint64_t now_ms = 500000;
    set_seen(f, now_ms, now_ms, now_ms);
    for (int i = 0; i < 9; i++, now_ms += 1000)
        assert_true(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms));
    set_seen(f, now_ms, 500000, now_ms);
    now_ms += 1000;
    assert_true(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms));
    /* A timer that was held up, and comes twice. */
    assert_true(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms + 1));
    assert_int_equal(fake_log_count("worker_unresponsive", NULL), 0);
    for (int i = 0; i < 5; i++) {
        now_ms += 1000;
        set_seen(f, now_ms, 500000, now_ms);
        assert_false(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms));
    }
    assert_int_equal(
        fake_log_count("level=error", "worker_unresponsive", "worker=1", "silent_s=11", NULL), 1);
    assert_int_equal(fake_log_count("", NULL), 1);
    set_seen(f, now_ms, now_ms, now_ms);
    assert_true(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms));
    assert_true(watchdog_log_look(&f->log, f->pointers, WORKERS, now_ms));
    assert_int_equal(fake_log_count("worker_responsive", "worker=1", NULL), 1);
    assert_int_equal(fake_log_count("", NULL), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_late), TEST(test_second_look), TEST(test_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
