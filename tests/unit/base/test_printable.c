/* base/printable.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/printable.h"

static void what_is_printable_stays(void **state)
{
    (void)state;
    char text[PRINTABLE_ROOM(64)];
    assert_string_equal(printable_format("urn:dev:ops:1 \"x\" =", 19, text),
                        "urn:dev:ops:1 \"x\" =");
    assert_string_equal(printable_format("", 0, text), "");
    assert_string_equal(printable_format("a\\b", 3, text), "a\\\\b");
    assert_string_equal(printable_format("a\0\n\x7f\xff", 5, text), "a\\x00\\x0a\\x7f\\xff");
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    char text[PRINTABLE_ROOM(sizeof(bytes))];
    size_t size;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    printable_format(bytes, sizeof(bytes), text);
    for (const char *at = text; *at != '\0'; at++)
        assert_in_range(*at, ' ', '~');
    assert_true(printable_parse(text, back, sizeof(back), &size));
    assert_int_equal(size, sizeof(bytes));
    assert_memory_equal(bytes, back, sizeof(bytes));
}

static void what_people_type(void **state)
{
    (void)state;
    uint8_t bytes[8];
    size_t size;
    assert_true(printable_parse("\xc3\xa4\\X", bytes, 8, &size) == false); /* only a small x */
    assert_true(printable_parse("\xc3\xa4\\xC3\\\"", bytes, 8, &size));
    assert_int_equal(size, 4);
    assert_memory_equal(bytes, "\xc3\xa4\xc3\"", 4);
    assert_true(printable_parse("\\n\\u0007\\u202e\\t\\r", bytes, 8, &size)); /* as in the log */
    assert_int_equal(size, 7);
    assert_memory_equal(bytes, "\n\a\xe2\x80\xae\t\r", 7);
    assert_true(printable_parse("", bytes, 8, &size));
    assert_int_equal(size, 0);
}

static void what_means_nothing(void **state)
{
    static const char *const texts[] = {"\\",      "a\\",     "\\b",  "\\x",   "\\u202",
                                        "\\udfff", "\\u202g", "\\x1", "\\x1g", "\\xg1"};
    uint8_t bytes[8];
    size_t size;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(printable_parse(texts[i], bytes, sizeof(bytes), &size));
    assert_true(printable_parse("12345678", bytes, sizeof(bytes), &size));
    assert_false(printable_parse("123456789", bytes, sizeof(bytes), &size));
    assert_false(printable_parse("12345678\\x41", bytes, sizeof(bytes), &size));
    assert_false(printable_parse("123456\\u202e", bytes, sizeof(bytes), &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printable_stays),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(what_people_type),
        cmocka_unit_test(what_means_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
