/* run/control_output.c: lines on their way to a client that reads as it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "run/control_output.h"

static size_t add_number(struct control_output *output, unsigned number)
{
    size_t before = control_output_left(output);
    control_output_add(output, json_pack("{s:i}", "line", (int)number));
    assert_false(output->has_failed);
    return control_output_left(output) - before;
}

/* What a client has read so far: it must be the lines in their order, each once. */
struct reader {
    char text[64];
    size_t len;
    unsigned lines;
};

static void read_some(struct reader *reader, struct control_output *output, size_t bytes)
{
    const char *from = control_output_first(output);
    for (size_t i = 0; i < bytes; i++) {
        char line[64];
        assert_in_range(reader->len, 0, sizeof(reader->text) - 1);
        reader->text[reader->len++] = from[i];
        if (from[i] != '\n')
            continue;
        int len = snprintf(line, sizeof(line), "{\"line\":%u}\n", reader->lines++);
        assert_int_equal(reader->len, len);
        assert_memory_equal(reader->text, line, reader->len);
        reader->len = 0;
    }
    control_output_took(output, bytes);
}

static void lines_come_as_they_were_added(void **state)
{
    struct control_output output = {0};
    struct reader reader = {0};
    (void)state;
    assert_int_equal(control_output_left(&output), 0);
    for (unsigned i = 0; i < 3000; i++) {
        add_number(&output, i);
        read_some(&reader, &output, control_output_left(&output) * (i % 7) / 7);
    }
    read_some(&reader, &output, control_output_left(&output));
    assert_int_equal(reader.lines, 3000);
    assert_int_equal(reader.len, 0);
    control_output_deinit(&output);
}

/* Who reads all the time, but never the last byte, must not make the buffer grow with all that it
 * has ever been told. */
static void who_is_never_done_costs_no_more(void **state)
{
    enum { WAITING = 64 * 1024, LINES = 200000 };
    struct control_output output = {0};
    struct reader reader = {0};
    (void)state;
    for (unsigned i = 0; i < LINES; i++) {
        size_t len = add_number(&output, i);
        if (control_output_left(&output) > WAITING)
            read_some(&reader, &output, len);
    }
    assert_in_range(control_output_left(&output), WAITING - 64, WAITING + 64);
    assert_in_range(output.capacity, WAITING, 4 * WAITING);
    read_some(&reader, &output, control_output_left(&output));
    assert_int_equal(reader.lines, LINES);
    control_output_deinit(&output);
}

static void the_end_is_said(void **state)
{
    static const struct {
        bool ok;
        const char *text, *line;
    } ends[] = {
        {true, "", "{\"done\":true,\"ok\":true}\n"},
        {true, "so", "{\"done\":true,\"ok\":true,\"text\":\"so\"}\n"},
        {false, "why", "{\"done\":true,\"ok\":false,\"error\":\"why\"}\n"},
    };
    struct control_output output = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        control_output_end(&output, NULL, ends[i].ok, ends[i].text);
        assert_int_equal(control_output_left(&output), strlen(ends[i].line));
        assert_memory_equal(control_output_first(&output), ends[i].line, strlen(ends[i].line));
        control_output_took(&output, control_output_left(&output));
    }
    control_output_end(&output, json_pack("{s:i}", "count", 2), true, "");
    assert_memory_equal(control_output_first(&output), "{\"count\":2,", 11);
    control_output_deinit(&output);
}

/* As jansson says that there is no memory. */
static void a_missing_line_is_known(void **state)
{
    struct control_output output = {0};
    (void)state;
    control_output_add(&output, NULL);
    assert_true(output.has_failed);
    control_output_deinit(&output);
    assert_false(output.has_failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_as_they_were_added),
        cmocka_unit_test(who_is_never_done_costs_no_more),
        cmocka_unit_test(the_end_is_said),
        cmocka_unit_test(a_missing_line_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
