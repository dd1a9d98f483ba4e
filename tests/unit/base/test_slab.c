/* base/slab.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/slab.h"

enum { CELLS = 30000 }; /* more than a block of them */

static uint8_t *cells[CELLS];

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

static void cells_are_apart_and_zeroed(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 100);
    assert_int_equal(slab.cell_bytes, 112);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CELLS; i++) {
            cells[i] = slab_take(&slab);
            assert_non_null(cells[i]);
            assert_int_equal((uintptr_t)cells[i] % 16, 0);
            assert_true(is_zero(cells[i], 112));
            memset(cells[i], i % 255 + 1, 112);
        }
        assert_int_equal(slab.taken, CELLS);
        for (int i = 0; i < CELLS; i++) {
            assert_int_equal(cells[i][0], i % 255 + 1);
            assert_int_equal(cells[i][111], i % 255 + 1);
            slab_give(&slab, cells[i]);
        }
        assert_int_equal(slab.taken, 0);
    }
    slab_deinit(&slab);
    slab_give(&slab, NULL);
}

/* What is given back is taken again before memory is asked for. */
static void cells_are_used_again(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 4096);
    void *first = slab_take(&slab);
    void *second = slab_take(&slab);
    slab_give(&slab, first);
    assert_ptr_equal(slab_take(&slab), first);
    slab_give(&slab, second);
    for (int i = 0; i < 100000; i++) {
        void *cell = slab_take(&slab);
        assert_ptr_equal(cell, second);
        slab_give(&slab, cell);
    }
    slab_deinit(&slab);
    assert_int_equal(slab.taken, 0);
    assert_non_null(slab_take(&slab));
    slab_deinit(&slab);
}

/* Of the mappings of this process, the one at that address. */
static void flags_of(const void *at, char *flags, size_t room)
{
    char line[512];
    bool is_here = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    flags[0] = '\0';
    while (flags[0] == '\0' && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_here = (uintptr_t)at >= begin && (uintptr_t)at < end;
        else if (is_here && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(flags, room, "%s", line);
    }
    fclose(maps);
}

static void is_left_out_of_core_dumps(void **state)
{
    (void)state;
    char flags[512];
    struct slab slab;
    slab_init(&slab, 64);
    void *cell = slab_take(&slab);
    flags_of(cell, flags, sizeof(flags));
    assert_non_null(strstr(flags, " dd"));
    slab_deinit(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_apart_and_zeroed),
        cmocka_unit_test(cells_are_used_again),
        cmocka_unit_test(is_left_out_of_core_dumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
