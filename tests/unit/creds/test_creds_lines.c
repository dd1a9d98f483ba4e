/* creds/creds_lines.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "creds/creds_lines.h"

struct trial {
    struct secret file;
    struct problems problems;
    struct creds_lines lines;
};

static struct trial *begin(void **state, const char *text)
{
    struct trial *t = *state;
    secret_free(&t->file);
    problems_deinit(&t->problems);
    problems_init(&t->problems);
    assert_true(secret_new(&t->file, strlen(text)));
    memcpy(t->file.bytes, text, strlen(text));
    creds_lines_begin(&t->lines, &t->file, "/f", &t->problems);
    return t;
}

static int set_up(void **state)
{
    struct trial *t = calloc(1, sizeof(*t));
    assert_non_null(t);
    problems_init(&t->problems);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *t = *state;
    secret_free(&t->file);
    problems_deinit(&t->problems);
    free(t);
    return 0;
}

static void assert_next(struct trial *t, uint32_t number, const char *line, bool is_unended)
{
    uint8_t *text;
    size_t size;
    assert_true(creds_lines_next(&t->lines, &text, &size));
    assert_int_equal(size, strlen(line));
    assert_memory_equal(text, line, size);
    assert_int_equal(t->lines.number, number);
    assert_int_equal(t->lines.is_unended, is_unended);
}

static void assert_no_more(struct trial *t)
{
    uint8_t *text;
    size_t size;
    assert_false(creds_lines_next(&t->lines, &text, &size));
}

static void lines_end_with_lf_or_cr_lf(void **state)
{
    struct trial *t = begin(state, "a\n\nb c\r\n\r\nd");
    assert_int_equal(creds_lines_count(&t->file), 5);
    assert_next(t, 1, "a", false);
    assert_next(t, 2, "", false);
    assert_next(t, 3, "b c", false);
    assert_next(t, 4, "", false);
    assert_next(t, 5, "d", true);
    assert_no_more(t);
    t = begin(state, "a\r");
    assert_next(t, 1, "a", true);
    assert_no_more(t);
    t = begin(state, "\n");
    assert_next(t, 1, "", false);
    assert_no_more(t);
    assert_int_equal(t->problems.count, 0);
}

/* As who reads a key does, which needs less room than its line. */
static void lines_before_may_be_written_over(void **state)
{
    struct trial *t = begin(state, "aaa\nb\n");
    assert_next(t, 1, "aaa", false);
    memset(t->file.bytes, '\n', 4);
    assert_next(t, 2, "b", false);
    assert_no_more(t);
}

static void errors_have_their_lines(void **state)
{
    struct trial *t = begin(state, "\xef\xbb\xbfid\nx\n");
    assert_next(t, 1, "id", false);
    assert_next(t, 2, "x", false);
    assert_false(creds_lines_error(&t->lines, "is %d", 7));
    assert_no_more(t);
    assert_int_equal(t->lines.errors, 2);
    assert_int_equal(t->problems.error_count, 2);
    assert_non_null(strstr(t->problems.texts[0], "/f:1: begins with a UTF-8 byte order mark"));
    assert_string_equal(t->problems.texts[1], "/f:2: is 7");
}

static void many_errors_are_counted(void **state)
{
    enum { TOLD = 20 };
    for (uint32_t lines = TOLD; lines <= TOLD + 2; lines += 2) {
        char text[64] = "";
        memset(text, '\n', lines);
        struct trial *t = begin(state, text);
        for (uint32_t i = 1; i <= lines; i++) {
            assert_next(t, i, "", false);
            creds_lines_error(&t->lines, "is empty");
        }
        assert_no_more(t);
        assert_int_equal(t->problems.count, lines == TOLD ? TOLD : TOLD + 1);
        assert_string_equal(t->problems.texts[TOLD - 1], "/f:20: is empty");
        if (lines > TOLD)
            assert_string_equal(t->problems.texts[TOLD], "/f: and 2 more lines with errors");
    }
}

#define LINES_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINES_TEST(lines_end_with_lf_or_cr_lf),
        LINES_TEST(lines_before_may_be_written_over),
        LINES_TEST(errors_have_their_lines),
        LINES_TEST(many_errors_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
