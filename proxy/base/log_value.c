#include "base/log_value.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static const char digits[] = "0123456789abcdef";

bool log_value_is_plain(const void *value, size_t size)
{
    const uint8_t *c = value;
    for (size_t i = 0; i < size; i++)
        if (c[i] <= ' ' || c[i] >= 0x7f || c[i] == '"' || c[i] == '\'' || c[i] == '=' ||
            c[i] == '\\')
            return false;
    return size != 0;
}

/* They have no shape of their own, and change that of others. All are of the first plane. */
static bool is_hidden(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* What c is escaped as behind a backslash by a letter of its own, or 0. */
static char letter_of(uint32_t c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return '\0';
    }
}

enum { ESCAPE_MAX = 6 };

/* Returns its size; 0: c stands as it is. */
static size_t escape(uint32_t c, char text[ESCAPE_MAX])
{
    text[0] = '\\';
    text[1] = letter_of(c);
    if (text[1] != '\0')
        return 2;
    if (!is_hidden(c))
        return 0;
    text[1] = 'u';
    for (int i = 0; i < 4; i++)
        text[2 + i] = digits[c >> (12 - 4 * i) & 15];
    return ESCAPE_MAX;
}

size_t log_value_quote(const void *value, size_t size, char *to, size_t room, bool *is_cut)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const uint8_t *from = value;
    size_t used = 0;
    for (size_t i = 0, step; i < size; i += step) {
        uint32_t c;
        char escaped[ESCAPE_MAX];
        step = utf8_next(from + i, size - i, &c);
        const char *text = step != 0 ? (const char *)from + i : replacement;
        size_t text_size = step != 0 ? step : sizeof(replacement) - 1;
        size_t escaped_size = step != 0 ? escape(c, escaped) : 0;
        if (escaped_size != 0) {
            text = escaped;
            text_size = escaped_size;
        }
        if (text_size > room - used) {
            *is_cut = true;
            break;
        }
        memcpy(to + used, text, text_size);
        used += text_size;
        step = step != 0 ? step : 1;
    }
    return used;
}

size_t log_value_hex(const void *value, size_t size, char *to, size_t room, bool *is_cut)
{
    const uint8_t *from = value;
    if (size > room / 2) {
        *is_cut = true;
        size = room / 2;
    }
    for (size_t i = 0; i < size; i++) {
        to[2 * i] = digits[from[i] >> 4];
        to[2 * i + 1] = digits[from[i] & 15];
    }
    return 2 * size;
}
