#include "base/printable.h"

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

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

size_t printable_parse_escape(const void *text, size_t len, uint8_t *byte)
{
    const uint8_t *at = text;
    if (len >= 1 && (at[0] == '\\' || at[0] == '"')) {
        *byte = at[0];
        return 1;
    }
    if (len < 3 || at[0] != 'x' || bytes_hex_digit(at[1]) < 0 || bytes_hex_digit(at[2]) < 0)
        return 0;
    *byte = (uint8_t)(bytes_hex_digit(at[1]) << 4 | bytes_hex_digit(at[2]));
    return 3;
}

bool printable_parse(const char *text, void *bytes, size_t room, size_t *size)
{
    uint8_t *to = bytes;
    *size = 0;
    while (*text != '\0') {
        uint8_t byte = (uint8_t)*text++;
        size_t taken = byte == '\\' ? printable_parse_escape(text, strlen(text), &byte) : 0;
        if ((text[-1] == '\\' && taken == 0) || *size == room)
            return false;
        text += taken;
        to[(*size)++] = byte;
    }
    return true;
}
