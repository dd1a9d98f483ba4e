#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/fd_list.h"

static void test_what_can_be_a_name(void **state)
{
    char longest[FD_NAME_MAX], too_long[FD_NAME_MAX + 1];
    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    memset(too_long, 'x', sizeof(too_long));
    too_long[sizeof(too_long) - 1] = '\0';
    assert_true(fd_list_is_name("listen-0-s-7f000001"));
    assert_true(fd_list_is_name(longest));
    assert_false(fd_list_is_name(""));
    assert_false(fd_list_is_name(too_long));
    assert_false(fd_list_is_name("a:b"));
    assert_false(fd_list_is_name("a b"));
    assert_false(fd_list_is_name("a\nb"));
    assert_false(fd_list_is_name("\xc3\xa4"));
}

static void test_found_by_name_in_order(void **state)
{
    struct fd_list list = {0};
    struct err err = {0};
    char name[16];
    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "name-%d", i % 50);
        assert_true(fd_list_add(&list, name, 1000 + i, &err));
    }
    assert_int_equal(fd_list_find(&list, "name-7")->fd, 1007);
    fd_list_remove(&list, fd_list_find(&list, "name-7"));
    assert_int_equal(list.count, 99);
    assert_int_equal(fd_list_find(&list, "name-7")->fd, 1057);
    fd_list_remove(&list, fd_list_find(&list, "name-7"));
    assert_null(fd_list_find(&list, "name-7"));
    assert_int_equal(list.items[97].fd, 1099);
    assert_false(fd_list_add(&list, "no name", 1, &err));
    assert_non_null(strstr(err.text, "no name"));
    fd_list_free(&list);
    assert_int_equal(list.count, 0);
}

static void test_closed_with_all_in_it(void **state)
{
    struct fd_list list = {0};
    struct err err = {0};
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_true(fd_list_add(&list, "read", ends[0], &err));
    assert_true(fd_list_add(&list, "write", ends[1], &err));
    fd_list_close(&list);
    assert_int_equal(fcntl(ends[0], F_GETFD), -1);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    fd_list_close(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_can_be_a_name),
        cmocka_unit_test(test_found_by_name_in_order),
        cmocka_unit_test(test_closed_with_all_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
