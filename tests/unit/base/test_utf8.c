#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/utf8.h"

/* As RFC 3629 section 3 writes a character. */
static size_t encode(uint32_t c, uint8_t text[4])
{
    if (c < 0x80) {
        text[0] = (uint8_t)c;
        return 1;
    }
    size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size - 1; i > 0; i--) {
        text[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    text[0] = (uint8_t)(marks[size] | c);
    return size;
}

/* Every character, and none of its beginnings. */
static void test_all_characters(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x200000; c++) {
        uint8_t text[4];
        uint32_t got = 0;
        size_t size = encode(c, text);
        bool is_character = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        if (utf8_next(text, size, &got) != (is_character ? size : 0) || (is_character && got != c))
            fail_msg("U+%04x", c);
        uint8_t put[3];
        if (is_character && c <= 0xffff &&
            (utf8_put(c, put) != size || memcmp(put, text, size) != 0))
            fail_msg("U+%04x", c);
        for (size_t len = 0; len < size; len++)
            assert_int_equal(utf8_next(text, len, &got), 0);
    }
}

/* Of all that three bytes can be, as much is a character as there are characters of three bytes: so
 * nothing else is, overlong forms above all. */
static void test_nothing_else(void **state)
{
    (void)state;
    uint32_t counts[4] = {0}, c;
    for (uint32_t bytes = 0; bytes < 0x1000000; bytes++) {
        const uint8_t text[] = {(uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
        counts[utf8_next(text, sizeof(text), &c)]++;
    }
    assert_int_equal(counts[1], 0x80 * 0x10000);
    assert_int_equal(counts[2], (0x800 - 0x80) * 0x100);
    assert_int_equal(counts[3], 0x10000 - 0x800 - 0x800);
    static const uint8_t overlong[] = {0xf0, 0x8f, 0xbf, 0xbf}, beyond[] = {0xf4, 0x90, 0x80, 0x80};
    assert_int_equal(utf8_next(overlong, 4, &c), 0);
    assert_int_equal(utf8_next(beyond, 4, &c), 0);
}

static void test_texts(void **state)
{
    (void)state;
    assert_true(utf8_is_valid("", 0));
    assert_true(utf8_is_valid("z\xc3\xbcrich\0\xe2\x98\x83", 11));
    assert_false(utf8_is_valid("z\xfcrich", 6));
    assert_false(utf8_is_valid("cut \xe2\x98", 6));
    assert_false(utf8_is_valid("\x80", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
