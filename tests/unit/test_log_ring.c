#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log_ring.h"

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct log_ring));
    assert_non_null(*state);
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static bool put_number(struct log_ring *ring, uint32_t number)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u", number);
    return log_ring_put(ring, text, (uint32_t)size);
}

/* The number in the oldest line, which is dropped; -1 = there is none. */
static long take_number(struct log_ring *ring)
{
    char text[LOG_RING_LINE_BYTES + 1] = "";
    const struct log_ring_line *line = log_ring_first(ring);
    if (line == NULL)
        return -1;
    memcpy(text, line->text, line->size);
    log_ring_drop(ring);
    return strtol(text, NULL, 10);
}

/* Many times round, with every number of lines in it from none to all. */
static void test_order(void **state)
{
    struct log_ring *ring = *state;
    uint32_t put = 0, taken = 0;
    for (uint32_t fill = 0; fill <= LOG_RING_LINES; fill += 61) {
        for (int turn = 0; turn < 100; turn++) {
            while (put - taken < fill)
                assert_true(put_number(ring, put++));
            while (put - taken > fill / 2)
                assert_int_equal(take_number(ring), taken++);
        }
    }
    while (taken < put)
        assert_int_equal(take_number(ring), taken++);
    assert_int_equal(take_number(ring), -1);
    assert_true(put > 5 * LOG_RING_LINES);
    assert_int_equal(ring->lost, 0);
}

static void test_the_longest_line(void **state)
{
    struct log_ring *ring = *state;
    char text[LOG_RING_LINE_BYTES];
    memset(text, 'x', sizeof(text));
    assert_true(log_ring_put(ring, text, sizeof(text)));
    const struct log_ring_line *line = log_ring_first(ring);
    assert_non_null(line);
    assert_int_equal(line->size, sizeof(text));
    assert_memory_equal(line->text, text, sizeof(text));
}

static void test_full(void **state)
{
    struct log_ring *ring = *state;
    for (uint32_t i = 0; i < LOG_RING_LINES; i++)
        assert_true(put_number(ring, i));
    for (uint32_t i = 0; i < 7; i++)
        assert_false(put_number(ring, 99999));
    assert_int_equal(ring->lost, 7);
    assert_int_equal(take_number(ring), 0);
    assert_true(put_number(ring, LOG_RING_LINES));
    assert_false(put_number(ring, 99999));
    for (uint32_t i = 1; i < LOG_RING_LINES; i++) {
        assert_int_equal(log_ring_first(ring)->lost_before, 0);
        assert_int_equal(take_number(ring), i);
    }
    assert_int_equal(log_ring_first(ring)->lost_before, 7); /* where they are missing */
    assert_int_equal(take_number(ring), LOG_RING_LINES);
    assert_int_equal(take_number(ring), -1);
    assert_int_equal(ring->lost, 8);
}

/* A debugger, or the scheduler, may stop a thread anywhere: the others do not wait for it. */
static void test_a_thread_that_is_stopped_while_it_puts(void **state)
{
    struct log_ring *ring = *state;
    assert_true(put_number(ring, 0));
    assert_true(put_number(ring, 1));
    ring->lines[0].turn = 0; /* as it is before the line is complete */
    for (uint32_t i = 2; i < LOG_RING_LINES; i++)
        assert_true(put_number(ring, i));
    assert_false(put_number(ring, 99999));
    assert_int_equal(take_number(ring), -1);
    ring->lines[0].turn = 1; /* it goes on */
    for (uint32_t i = 0; i < LOG_RING_LINES; i++)
        assert_int_equal(take_number(ring), i);
}

enum { THREADS = 4, LINES_EACH = 20000 };

struct putter {
    struct log_ring *ring;
    char letter;
    uint32_t kept;
};

static void *put_many(void *argument)
{
    struct putter *putter = argument;
    char text[300];
    memset(text, putter->letter, sizeof(text));
    for (uint32_t i = 0; i < LINES_EACH; i++) {
        memcpy(text, &i, sizeof(i));
        putter->kept += log_ring_put(putter->ring, text, sizeof(text));
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

/* Every line is whole, and those of one thread come in order. */
static void test_threads(void **state)
{
    struct log_ring *ring = *state;
    pthread_t threads[THREADS];
    struct putter putters[THREADS];
    uint32_t taken = 0, next[THREADS] = {0};
    alarm(60);
    for (int i = 0; i < THREADS; i++) {
        putters[i] = (struct putter){.ring = ring, .letter = (char)('a' + i)};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    while (taken + atomic_load(&ring->lost) < THREADS * LINES_EACH) {
        const struct log_ring_line *line = log_ring_first(ring);
        if (line == NULL)
            continue;
        char letter = line->text[4];
        uint32_t number;
        assert_in_range(letter, 'a', 'a' + THREADS - 1);
        assert_int_equal(line->size, 300);
        for (uint32_t i = 4; i < line->size; i++)
            assert_int_equal(line->text[i], letter);
        memcpy(&number, line->text, sizeof(number));
        assert_true(number >= next[letter - 'a']);
        next[letter - 'a'] = number + 1;
        log_ring_drop(ring);
        taken++;
    }
    uint32_t kept = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        kept += putters[i].kept;
    }
    alarm(0);
    assert_int_equal(taken, kept);
    assert_null(log_ring_first(ring));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order),   TEST(test_the_longest_line),
        TEST(test_full),    TEST(test_a_thread_that_is_stopped_while_it_puts),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
