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

/* A line that begins with a number and is so long. */
static bool put_number(struct log_ring *ring, uint32_t number, uint32_t size)
{
    char text[LOG_RING_LINE_BYTES];
    assert_in_range(size, sizeof(number) + 1, sizeof(text));
    memset(text, 'x', sizeof(text));
    memcpy(text, &number, sizeof(number));
    text[size - 1] = '\n';
    return log_ring_put(ring, text, size);
}

/* The number in the oldest line, which must be so long; -1 = there is none. */
static long take_number(struct log_ring *ring, uint32_t size)
{
    struct log_ring_line line;
    uint32_t number;
    if (!log_ring_take(ring, &line))
        return -1;
    assert_int_equal(line.size, size);
    memcpy(&number, line.text, sizeof(number));
    for (uint32_t i = sizeof(number); i < size - 1; i++)
        assert_int_equal(line.text[i], 'x');
    assert_int_equal(line.text[line.size - 1], '\n');
    return (long)number;
}

/* Sizes around those of pieces, in turn. */
static uint32_t size_of(uint32_t number)
{
    static const uint32_t sizes[] = {
        5,   LOG_RING_PIECE_BYTES - 1, LOG_RING_PIECE_BYTES, LOG_RING_PIECE_BYTES + 1,
        300, 3 * LOG_RING_PIECE_BYTES, LOG_RING_LINE_BYTES,
    };
    return sizes[number % (sizeof(sizes) / sizeof(sizes[0]))];
}

/* Many times round, with every number of lines in it from none to as many as there is room for. */
static void test_order(void **state)
{
    struct log_ring *ring = *state;
    uint32_t put = 0, taken = 0;
    for (uint32_t fill = 0; fill <= LOG_RING_PIECES / 5; fill += 61) {
        for (int turn = 0; turn < 100; turn++) {
            for (; put - taken < fill; put++)
                assert_true(put_number(ring, put, size_of(put)));
            for (; put - taken > fill / 2; taken++)
                assert_int_equal(take_number(ring, size_of(taken)), taken);
        }
    }
    for (; taken < put; taken++)
        assert_int_equal(take_number(ring, size_of(taken)), taken);
    assert_int_equal(take_number(ring, 0), -1);
    assert_true(put > 5 * LOG_RING_PIECES);
    assert_int_equal(ring->lost, 0);
}

static void test_full(void **state)
{
    struct log_ring *ring = *state;
    enum { SIZE = LOG_RING_PIECE_BYTES };
    for (uint32_t i = 0; i < LOG_RING_PIECES; i++)
        assert_true(put_number(ring, i, SIZE));
    for (uint32_t i = 0; i < 7; i++)
        assert_false(put_number(ring, 99999, SIZE));
    assert_int_equal(ring->lost, 7);
    assert_int_equal(take_number(ring, SIZE), 0);
    assert_false(put_number(ring, 99999, SIZE + 1)); /* room for one piece, not for two */
    assert_true(put_number(ring, LOG_RING_PIECES, SIZE));
    assert_false(put_number(ring, 99999, SIZE));
    struct log_ring_line line;
    for (uint32_t i = 1; i < LOG_RING_PIECES; i++) {
        assert_true(log_ring_take(ring, &line));
        assert_int_equal(line.lost_before, 0);
    }
    assert_true(log_ring_take(ring, &line));
    assert_int_equal(line.lost_before, 8); /* where they are missing */
    assert_false(log_ring_take(ring, &line));
    assert_int_equal(ring->lost, 9);
}

/* A debugger, or the scheduler, may stop a thread anywhere: the others do not wait for it. */
static void test_a_thread_that_is_stopped_while_it_puts(void **state)
{
    struct log_ring *ring = *state;
    enum { SIZE = 2 * LOG_RING_PIECE_BYTES, LINES = LOG_RING_PIECES / 2 };
    assert_true(put_number(ring, 0, SIZE));
    assert_true(put_number(ring, 1, SIZE));
    ring->pieces[0].turn = 0; /* as it is before the line is complete */
    for (uint32_t i = 2; i < LINES; i++)
        assert_true(put_number(ring, i, SIZE));
    assert_false(put_number(ring, 99999, SIZE));
    assert_int_equal(take_number(ring, SIZE), -1);
    ring->pieces[0].turn = 1; /* it goes on */
    for (uint32_t i = 0; i < LINES; i++)
        assert_int_equal(take_number(ring, SIZE), i);
    assert_true(put_number(ring, 0, SIZE));
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
    char text[550];
    memset(text, putter->letter, sizeof(text));
    for (uint32_t i = 0; i < LINES_EACH; i++) {
        memcpy(text, &i, sizeof(i));
        putter->kept += log_ring_put(putter->ring, text, 50 + i % 500);
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
        struct log_ring_line line;
        if (!log_ring_take(ring, &line))
            continue;
        char letter = line.text[4];
        uint32_t number;
        assert_in_range(letter, 'a', 'a' + THREADS - 1);
        for (uint32_t i = 4; i < line.size; i++)
            assert_int_equal(line.text[i], letter);
        memcpy(&number, line.text, sizeof(number));
        assert_int_equal(line.size, 50 + number % 500);
        assert_true(number >= next[letter - 'a']);
        next[letter - 'a'] = number + 1;
        taken++;
    }
    uint32_t kept = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        kept += putters[i].kept;
    }
    alarm(0);
    assert_int_equal(taken, kept);
    assert_int_equal(take_number(ring, 0), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_full),
        TEST(test_a_thread_that_is_stopped_while_it_puts),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
