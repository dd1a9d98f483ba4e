#include "base/printable.h"

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

char *printable_format(const void *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    char *to = text;
    for (size_t i = 0; i < size; i++) {
        if (from[i] == '\\') {
            *to++ = '\\';
            *to++ = '\\';
        } else if (from[i] >= ' ' && from[i] <= '~') {
            *to++ = (char)from[i];
        } else {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = digits[from[i] >> 4];
            *to++ = digits[from[i] & 15];
        }
    }
    *to = '\0';
    return text;
}

/* False: there are not so many digits. */
static bool read_hex(const uint8_t *at, size_t len, size_t digits, uint32_t *number)
{
    *number = 0;
    for (size_t i = 0; i < digits; i++) {
        if (i == len || bytes_hex_digit(at[i]) < 0)
            return false;
        *number = *number << 4 | (uint32_t)bytes_hex_digit(at[i]);
    }
    return true;
}

/* What a single character behind a backslash means; 0: nothing. */
static uint8_t meaning_of(uint8_t c)
{
    switch (c) {
    case '\\':
    case '"': return c;
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return 0;
    }
}

size_t printable_parse_escape(const void *text, size_t len, uint8_t bytes[PRINTABLE_ESCAPE_BYTES],
                              size_t *size)
{
    const uint8_t *at = text;
    uint32_t number;
    if (len == 0)
        return 0;
    *size = 1;
    bytes[0] = meaning_of(at[0]);
    if (bytes[0] != 0)
        return 1;
    if (at[0] == 'x' && read_hex(at + 1, len - 1, 2, &number)) {
        bytes[0] = (uint8_t)number;
        return 3;
    }
    if (at[0] != 'u' || !read_hex(at + 1, len - 1, 4, &number) ||
        (number >= 0xd800 && number <= 0xdfff))
        return 0;
    *size = utf8_put(number, bytes);
    return 5;
}

bool printable_parse(const char *text, void *bytes, size_t room, size_t *size)
{
    uint8_t *to = bytes;
    *size = 0;
    while (*text != '\0') {
        uint8_t one[PRINTABLE_ESCAPE_BYTES] = {(uint8_t)*text};
        size_t count = 1, taken = 0;
        if (*text == '\\') {
            taken = printable_parse_escape(text + 1, strlen(text + 1), one, &count);
            if (taken == 0)
                return false;
        }
        if (count > room - *size)
            return false;
        memcpy(to + *size, one, count);
        *size += count;
        text += 1 + taken;
    }
    return true;
}
