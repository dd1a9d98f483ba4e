/* base/cells.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cells.h"
#include "base/poison.h"
#include "fakes/core_dump.h"

/* cells.c asks the system for a MiB at a time. */
enum { STEP_UNITS = (1 << 20) / CELLS_UNIT_BYTES };

static void open_cells(struct cells *cells, uint32_t units_max)
{
    struct err err = {0};
    assert_true(cells_init(cells, units_max, &err));
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

/* Of all sizes, given back in another order than they were taken. */
static void objects_are_apart_and_zeroed(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint32_t numbers[COUNT];
    static size_t sizes[COUNT];
    struct cells cells;
    unsigned short seed[3] = {1, 2, 3};
    open_cells(&cells, COUNT * CELLS_UNITS_MAX);
    for (int round = 0; round < 3; round++) {
        size_t sum = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            sizes[i] = 1 + (size_t)nrand48(seed) % (CELLS_UNITS_MAX * CELLS_UNIT_BYTES);
            numbers[i] = cells_take(&cells, sizes[i]);
            assert_int_not_equal(numbers[i], CELLS_NONE);
            uint8_t *object = cells_at(&cells, numbers[i]);
            assert_int_equal((uintptr_t)object % CELLS_UNIT_BYTES, 0);
            assert_int_equal(cells_number_of(&cells, object), numbers[i]);
            assert_true(is_zero(object, sizes[i]));
            memset(object, (int)(i % 255 + 1), sizes[i]);
            sum += (sizes[i] + CELLS_UNIT_BYTES - 1) / CELLS_UNIT_BYTES * CELLS_UNIT_BYTES;
        }
        assert_int_equal(cells_bytes_taken(&cells), sum);
        for (uint32_t n = 0; n < COUNT; n++) {
            uint32_t i = (n * 7 + 3) % COUNT;
            const uint8_t *object = cells_at(&cells, numbers[i]);
            assert_int_equal(object[0], i % 255 + 1);
            assert_int_equal(object[sizes[i] - 1], i % 255 + 1);
            cells_give(&cells, numbers[i], sizes[i]);
        }
        assert_int_equal(cells_bytes_taken(&cells), 0);
    }
    cells_deinit(&cells);
    cells_deinit(&cells); /* harmless */
}

/* What is given back is taken again before memory is asked for; by objects of its size only. */
static void objects_are_used_again(void **state)
{
    (void)state;
    struct cells cells;
    open_cells(&cells, 1);
    uint32_t first = cells_take(&cells, 200), second = cells_take(&cells, 300);
    cells_give(&cells, first, 200);
    assert_int_not_equal(cells_take(&cells, 257), first);
    assert_int_equal(cells_take(&cells, 193), first); /* as many cache lines */
    cells_give(&cells, second, 300);
    uint32_t fresh = cells.fresh;
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(cells_take(&cells, 320), second);
        cells_give(&cells, second, 320);
    }
    assert_int_equal(cells.fresh, fresh);
    cells_deinit(&cells);
}

/* Keys do not outlive the object that they were in. */
static void what_is_given_back_is_wiped(void **state)
{
    (void)state;
    struct cells cells;
    open_cells(&cells, 64);
    uint32_t number = cells_take(&cells, 384);
    uint8_t *object = cells_at(&cells, number);
    memset(object, 0x5a, 384);
    cells_give(&cells, number, 384);
    POISON_OFF(object, 384);
    for (size_t i = 0; i < 384; i++)
        assert_int_not_equal(object[i], 0x5a);
    POISON_ON(object, 384);
    cells_deinit(&cells);
}

/* The range is whole steps of the system's; when it is used up there is no more, and what is given
 * back makes room. */
static void the_range_has_an_end(void **state)
{
    (void)state;
    enum { UNITS = 5 };
    struct cells cells;
    uint32_t number, last = CELLS_NONE, count = 0;
    open_cells(&cells, STEP_UNITS + 1);
    assert_int_equal(cells.units_max, 2 * STEP_UNITS);
    while ((number = cells_take(&cells, UNITS * CELLS_UNIT_BYTES)) != CELLS_NONE) {
        memset(cells_at(&cells, number), 0xff, UNITS * CELLS_UNIT_BYTES);
        last = number;
        count++;
    }
    assert_int_equal(count, 2 * STEP_UNITS / UNITS);
    cells_give(&cells, last, UNITS * CELLS_UNIT_BYTES);
    assert_int_equal(cells_take(&cells, UNITS * CELLS_UNIT_BYTES), last);
    /* What is left at the end is enough for a smaller one. */
    assert_int_not_equal(cells_take(&cells, CELLS_UNIT_BYTES), CELLS_NONE);
    cells_deinit(&cells);
}

/* All sessions of a gate with 16 million of them. */
static void addresses_cost_nothing(void **state)
{
    (void)state;
    struct cells cells;
    open_cells(&cells, 16000000 * 12);
    uint32_t number = cells_take(&cells, 256);
    assert_int_not_equal(number, CELLS_NONE);
    assert_int_equal(cells.usable, STEP_UNITS);
    cells_deinit(&cells);
}

/* With so many that the system has not got as many addresses, the operator is told what to do. */
static void too_many_are_refused(void **state)
{
    (void)state;
    struct cells cells;
    struct err err = {0};
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)1 << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    bool is_open = cells_init(&cells, UINT32_MAX / 4, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_false(is_open);
    assert_non_null(strstr(err.text, "addresses for sessions"));
    assert_non_null(strstr(err.text, "max_sessions"));
    cells_deinit(&cells); /* harmless */
}

static void core_dumps_do_not_have_them(void **state)
{
    (void)state;
    struct cells cells;
    open_cells(&cells, 3 * STEP_UNITS);
    uint32_t number = 0;
    for (uint32_t i = 0; i < 2 * STEP_UNITS / CELLS_UNITS_MAX + 1; i++) {
        number = cells_take(&cells, CELLS_UNITS_MAX * CELLS_UNIT_BYTES);
        assert_int_not_equal(number, CELLS_NONE);
    }
    assert_true(core_dump_leaves_out(cells_at(&cells, 0)));
    assert_true(core_dump_leaves_out(cells_at(&cells, number))); /* of another step */
    cells_deinit(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_and_zeroed), cmocka_unit_test(objects_are_used_again),
        cmocka_unit_test(what_is_given_back_is_wiped),  cmocka_unit_test(the_range_has_an_end),
        cmocka_unit_test(addresses_cost_nothing),       cmocka_unit_test(too_many_are_refused),
        cmocka_unit_test(core_dumps_do_not_have_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
