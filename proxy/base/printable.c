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

/* Behind a backslash; returns how much of the text it takes, 0 = it means nothing. */
static size_t parse_escape(const char *text, uint8_t *byte)
{
    if (text[0] == '\\' || text[0] == '"') {
        *byte = (uint8_t)text[0];
        return 1;
    }
    if (text[0] != 'x' || bytes_hex_digit((uint8_t)text[1]) < 0 ||
        bytes_hex_digit((uint8_t)text[2]) < 0)
        return 0;
    *byte = (uint8_t)(bytes_hex_digit((uint8_t)text[1]) << 4 | bytes_hex_digit((uint8_t)text[2]));
    return 3;
}

bool printable_parse(const char *text, void *bytes, size_t room, size_t *size)
{
    uint8_t *to = bytes;
    *size = 0;
    while (*text != '\0') {
        uint8_t byte = (uint8_t)*text++;
        size_t taken = byte == '\\' ? parse_escape(text, &byte) : 0;
        if ((text[-1] == '\\' && taken == 0) || *size == room)
            return false;
        text += taken;
        to[(*size)++] = byte;
    }
    return true;
}
