/* state/cells.c. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/poison.h"
#include "base/ref.h"
#include "fakes/core_dump.h"
#include "state/cells.h"
#include "state/layout.h"

static struct region region;

static int open_region(void **state)
{
    struct err err;
    (void)state;
    return region_create(&region, &err) ? 0 : -1;
}

static int close_region(void **state)
{
    (void)state;
    region_close(&region);
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

static size_t round_up(size_t bytes, size_t step)
{
    return (bytes + step - 1) / step * step;
}

/* Of all sizes, given back in another order than they were taken. */
static void cells_are_apart_and_zeroed(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint8_t *objects[COUNT];
    static size_t sizes[COUNT];
    struct cells cells;
    unsigned short seed[3] = {1, 2, 3};
    cells_init(&cells, &region);
    for (int round = 0; round < 3; round++) {
        size_t sums[] = {0, 0};
        for (uint32_t i = 0; i < COUNT; i++) {
            enum cells_kind kind = i % 2 == 0 ? CELLS_SESSIONS : CELLS_PIECES;
            size_t step = kind == CELLS_SESSIONS ? 64 : 16;
            sizes[i] = 1 + (size_t)nrand48(seed) % CELLS_MAX_BYTES;
            objects[i] = cells_take(&cells, kind, sizes[i]);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % step, 0);
            assert_ptr_equal(cells_at(&cells, cells_number_of(&cells, objects[i])), objects[i]);
            assert_true(is_zero(objects[i], sizes[i]));
            memset(objects[i], (int)(i % 255 + 1), sizes[i]);
            sums[i % 2] += round_up(sizes[i], step);
        }
        assert_int_equal(cells_bytes_of(&cells, CELLS_SESSIONS), sums[0]);
        assert_int_equal(cells_bytes_of(&cells, CELLS_PIECES), sums[1]);
        assert_int_equal(cells_bytes_taken(&cells), sums[0] + sums[1]);
        for (uint32_t n = 0; n < COUNT; n++) {
            uint32_t i = (n * 7 + 3) % COUNT;
            assert_int_equal(objects[i][0], i % 255 + 1);
            assert_int_equal(objects[i][sizes[i] - 1], i % 255 + 1);
            cells_give(&cells, i % 2 == 0 ? CELLS_SESSIONS : CELLS_PIECES, objects[i], sizes[i]);
        }
        assert_int_equal(cells_bytes_taken(&cells), 0);
    }
    cells_give(&cells, CELLS_PIECES, NULL, 10); /* harmless */
}

/* What is given back is taken again before memory is asked for; by cells of its size and kind only.
 */
static void cells_are_used_again(void **state)
{
    (void)state;
    struct cells cells;
    cells_init(&cells, &region);
    void *first = cells_take(&cells, CELLS_SESSIONS, 200),
         *second = cells_take(&cells, CELLS_SESSIONS, 300);
    cells_give(&cells, CELLS_SESSIONS, first, 200);
    assert_ptr_not_equal(cells_take(&cells, CELLS_SESSIONS, 257), first);
    assert_ptr_not_equal(cells_take(&cells, CELLS_PIECES, 200), first);
    assert_ptr_equal(cells_take(&cells, CELLS_SESSIONS, 193), first); /* as many cache lines */
    cells_give(&cells, CELLS_SESSIONS, second, 300);
    uint32_t chunks = region.chunk_end;
    for (int i = 0; i < 100000; i++) {
        assert_ptr_equal(cells_take(&cells, CELLS_SESSIONS, 320), second);
        cells_give(&cells, CELLS_SESSIONS, second, 320);
    }
    assert_int_equal(region.chunk_end, chunks);
}

/* Keys do not outlive the object that they were in. */
static void what_is_given_back_is_wiped(void **state)
{
    (void)state;
    struct cells cells;
    cells_init(&cells, &region);
    uint8_t *object = cells_take(&cells, CELLS_PIECES, 384);
    memset(object, 0x5a, 384);
    cells_give(&cells, CELLS_PIECES, object, 384);
    POISON_OFF(object, 384);
    for (size_t i = 0; i < 384; i++)
        assert_int_not_equal(object[i], 0x5a);
    POISON_ON(object, 384);
}

/* No memory is the same as none left; what is given back makes room. */
static void out_of_memory_there_is_none(void **state)
{
    (void)state;
    struct cells cells;
    void *cell, *last = NULL;
    uint32_t count = 0;
    int fd = region.fd;
    cells_init(&cells, &region);
    last = cells_take(&cells, CELLS_PIECES, 48);
    region.fd = -1; /* the system has no more */
    while ((cell = cells_take(&cells, CELLS_PIECES, 48)) != NULL) {
        memset(cell, 0xff, 48);
        last = cell;
        count++;
    }
    assert_int_equal(count, LAYOUT_CHUNK_BYTES / 48 - 1);
    cells_give(&cells, CELLS_PIECES, last, 48);
    assert_ptr_equal(cells_take(&cells, CELLS_PIECES, 48), last);
    assert_null(cells_take(&cells, CELLS_PIECES, 48));
    region.fd = fd;
    assert_non_null(cells_take(&cells, CELLS_PIECES, 48));
    assert_null(cells_take(&cells, CELLS_PIECES, CELLS_MAX_BYTES + 1));
}

/* Of several workers each has chunks of its own. */
enum { WORKERS = 4, CELLS_OF_EACH = 20000 };

static void *take_many(void *argument)
{
    struct cells *cells = argument;
    for (uint32_t i = 0; i < CELLS_OF_EACH; i++) {
        uint32_t *cell = cells_take(cells, CELLS_SESSIONS, 256);
        if (cell == NULL || *cell != 0)
            return cells;
        *cell = i + 1;
    }
    return NULL;
}

static void workers_do_not_meet(void **state)
{
    (void)state;
    static struct cells cells[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        cells_init(&cells[i], &region);
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &cells[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_int_equal(cells_bytes_taken(&cells[i]), CELLS_OF_EACH * 256);
    }
    enum { IN_A_CHUNK = LAYOUT_CHUNK_BYTES / 256 };
    assert_int_equal(region.chunk_end, WORKERS * ((CELLS_OF_EACH + IN_A_CHUNK - 1) / IN_A_CHUNK));
}

/* A field names another cell wherever the region is. */
static void refs_survive_a_move(void **state)
{
    (void)state;
    struct holder {
        uint64_t other;
        struct ref near, far, none;
    };
    struct cells cells;
    struct err err;
    cells_init(&cells, &region);
    struct holder *holder = cells_take(&cells, CELLS_SESSIONS, sizeof(*holder));
    uint32_t *near = cells_take(&cells, CELLS_SESSIONS, 64),
             *far = cells_take(&cells, CELLS_PIECES, 48);
    *near = 1;
    *far = 2;
    ref_set(&holder->near, near);
    ref_set(&holder->far, far);
    assert_ptr_equal(ref_find(&holder->near), near);
    assert_ptr_equal(ref_find(&holder->far), far);
    assert_null(ref_find(&holder->none));
    uint32_t number = cells_number_of(&cells, holder);
    struct region again;
    assert_true(region_map_read_only(&again, dup(region.fd), &err));
    holder = (void *)(again.base + (size_t)number * CELLS_UNIT_BYTES);
    assert_int_equal(*(uint32_t *)ref_get(&holder->near), 1);
    assert_int_equal(*(uint32_t *)ref_get(&holder->far), 2);
    region_close(&again);
    holder = cells_at(&cells, number);
    ref_set(&holder->far, NULL);
    assert_null(ref_find(&holder->far));
}

static void core_dumps_do_not_have_them(void **state)
{
    (void)state;
    struct cells cells;
    cells_init(&cells, &region);
    void *cell = NULL;
    for (uint32_t i = 0; i < 2 * LAYOUT_CHUNK_BYTES / CELLS_MAX_BYTES + 1; i++) {
        cell = cells_take(&cells, CELLS_PIECES, CELLS_MAX_BYTES);
        assert_true(core_dump_leaves_out(cell));
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_region, close_region)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cells_are_apart_and_zeroed),  TEST(cells_are_used_again),
        TEST(what_is_given_back_is_wiped), TEST(out_of_memory_there_is_none),
        TEST(workers_do_not_meet),         TEST(refs_survive_a_move),
        TEST(core_dumps_do_not_have_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
