#include "config/config_lines.h"

#include <string.h>

#define FILE_BYTES_MAX (1 << 20)

/* Reads one whole line, however long; *len is its length without newline. */
static enum config_line read_line(struct config_lines *lines, size_t *len)
{
    char *text = lines->text;
    int c, last = 0;

    *len = lines->bad_column = 0;
    while ((c = getc(lines->in)) != EOF && c != '\n') {
        bool is_bad = (c < ' ' && c != '\t' && c != '\r') || c == 0x7f;
        if (!lines->bad_column && (is_bad || last == '\r'))
            lines->bad_column = is_bad ? *len + 1 : *len;
        if (*len < CONFIG_LINE_MAX_BYTES)
            text[*len] = (char)c;
        ++*len;
        last = c;
        if (++lines->bytes > FILE_BYTES_MAX)
            return CONFIG_LINE_FILE_TOO_LARGE;
    }
    if (c == EOF && *len == 0)
        return CONFIG_LINE_NONE;
    if (last == '\r')
        --*len;
    text[*len < CONFIG_LINE_MAX_BYTES ? *len : CONFIG_LINE_MAX_BYTES] = '\0';
    if (lines->number == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0) {
        memmove(text, text + 3, strlen(text + 3) + 1);
        *len -= 3;
    }
    return CONFIG_LINE_OTHER;
}

enum config_line config_lines_next(struct config_lines *lines)
{
    char *text = lines->text;
    size_t len;

    lines->number++;
    enum config_line line = read_line(lines, &len);
    if (line != CONFIG_LINE_OTHER)
        return line;
    /* inih takes an indented line for more of the value before. */
    size_t indent = strspn(text, " \t");
    memmove(text, text + indent, strlen(text + indent) + 1);
    if (lines->bad_column)
        return CONFIG_LINE_NOT_TEXT;
    if (text[0] == ';' || text[0] == '#' || len == 0)
        return CONFIG_LINE_BLANK;
    if (len > CONFIG_LINE_MAX_BYTES)
        return CONFIG_LINE_TOO_LONG;
    if (text[0] == '[')
        return CONFIG_LINE_HEADER;
    if (text[0] == '\0')
        return CONFIG_LINE_BLANK;
    return text[0] != '=' && text[strcspn(text, "=:")] == '=' ? CONFIG_LINE_SETTING
                                                              : CONFIG_LINE_OTHER;
}
