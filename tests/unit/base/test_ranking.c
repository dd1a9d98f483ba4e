#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ranking.h"

static void keys_go_up_and_equal_ones_by_number(void **state)
{
    (void)state;
    enum { COUNT = 5000 }; /* it has to grow */
    struct ranking ranking = {0};
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(ranking_add(&ranking, UINT64_C(0xfffffffff) + i * 7919 % 97, COUNT - i));
    ranking_sort(&ranking);
    assert_int_equal(ranking.count, COUNT);
    for (uint32_t i = 1; i < COUNT; i++) {
        const struct ranked *a = &ranking.at[i - 1], *b = &ranking.at[i];
        assert_true(a->key < b->key || (a->key == b->key && a->number < b->number));
    }
    ranking_free(&ranking);
}

static void empty_is_harmless(void **state)
{
    (void)state;
    struct ranking ranking = {0};
    ranking_sort(&ranking);
    ranking_free(&ranking);
    assert_int_equal(ranking.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_go_up_and_equal_ones_by_number),
        cmocka_unit_test(empty_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
