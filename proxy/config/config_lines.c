#include "config/config_lines.h"

#include <ctype.h>
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
    return CONFIG_LINE_OTHER;
}

/* Of a first line: a mark, or letters of ASCII with a NUL beside each. */
static bool is_utf16(const char *text, size_t len)
{
    return len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 ||
                        !text[0] != !text[1]);
}

static void remove_mark(struct config_lines *lines, size_t *len)
{
    char *text = lines->text;
    if (strncmp(text, "\xef\xbb\xbf", 3) != 0)
        return;
    memmove(text, text + 3, strlen(text + 3) + 1);
    *len -= 3;
}

/* key = value, if it is not indented. An indented line may hold any item of a list: what begins
 * with the letters of a key, and goes on with a sign of equality, is a setting all the same. */
static bool is_setting(const char *text, bool is_indented)
{
    if (!is_indented)
        return text[0] != '=' && text[strcspn(text, "=:")] == '=';
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || text[len] == '_' || text[len] == '-')
        len++;
    return len != 0 && text[len + strspn(text + len, " \t")] == '=';
}

/* [name]; but indented, [address]:port is an item of a list. */
static bool is_header(const char *text, bool is_indented)
{
    const char *end = strchr(text, ']');
    return text[0] == '[' && !(is_indented && end && end[1] == ':');
}

/* What inih takes for one: from a semicolon after a space to the end. */
static void cut_comment(char *text)
{
    size_t len = 0;
    while (text[len] && !(text[len] == ';' && len > 0 && isspace((unsigned char)text[len - 1])))
        len++;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    text[len] = '\0';
}

enum config_line config_lines_next(struct config_lines *lines)
{
    char *text = lines->text;
    size_t len;

    lines->number++;
    enum config_line line = read_line(lines, &len);
    lines->rest = text;
    lines->is_more = false;
    if (line != CONFIG_LINE_OTHER)
        return line;
    if (lines->number == 1 && is_utf16(text, len))
        return CONFIG_LINE_UTF16;
    if (lines->number == 1)
        remove_mark(lines, &len);
    size_t indent = strspn(text, " \t");
    memmove(text, text + indent, strlen(text + indent) + 1);
    if (lines->bad_column)
        return CONFIG_LINE_NOT_TEXT;
    if (text[0] == ';' || text[0] == '#' || len == 0)
        return CONFIG_LINE_BLANK;
    if (len > CONFIG_LINE_MAX_BYTES)
        return CONFIG_LINE_TOO_LONG;
    if (text[0] == '\0')
        return CONFIG_LINE_BLANK;
    if (is_header(text, indent != 0))
        return CONFIG_LINE_HEADER;
    if (is_setting(text, indent != 0))
        return CONFIG_LINE_SETTING;
    if (indent == 0)
        return CONFIG_LINE_OTHER;
    cut_comment(text);
    lines->is_more = true;
    return CONFIG_LINE_MORE;
}

/* Where to cut, `most` bytes from the begin at most: not beside a space, which inih would remove,
 * nor before what it would take for a comment; and it must see all of the key. 0: nowhere. */
static size_t find_cut(const char *text, size_t least, size_t most)
{
    size_t cut = most;
    while (cut > least && (isspace((unsigned char)text[cut - 1]) ||
                           isspace((unsigned char)text[cut]) || strchr(";#", text[cut])))
        cut--;
    return cut > least ? cut : 0;
}

bool config_lines_take_piece(struct config_lines *lines, char *piece, size_t size)
{
    bool has_key = lines->rest == lines->text && !lines->is_more;
    size_t room = size - sizeof(" \n");
    if (has_key && strlen(lines->rest) > room)
        cut_comment(lines->text);
    size_t len = strlen(lines->rest), cut = len;
    size_t key = has_key ? strcspn(lines->rest, "=") + 1 : 0;
    if (len > room)
        cut = key < room ? find_cut(lines->rest, key, room) : 0;
    snprintf(piece, size, "%s%.*s\n", has_key ? "" : " ", (int)cut, lines->rest);
    lines->rest = cut < len ? lines->rest + cut : NULL;
    return cut != 0;
}
