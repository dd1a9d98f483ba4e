#include "creds/creds_lines.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/give_way.h"

enum {
    ERRORS_MAX = 20, /* of one file; the rest is only counted */
    LINES_AT_ONCE = 64,
};

size_t creds_lines_count(const struct secret *file)
{
    size_t lines = 1;
    const uint8_t *text = file->bytes, *end = text + file->size;
    while ((text = memchr(text, '\n', (size_t)(end - text))) != NULL) {
        if (++lines % (16 * LINES_AT_ONCE) == 0) /* they are only counted */
            give_way();
        text++;
    }
    return lines;
}

/* Letters of ASCII, behind a mark or without. An identity may begin with any bytes but NUL. */
static bool is_utf16(const struct secret *file)
{
    const uint8_t *bytes = file->bytes;
    return file->size >= 4 && !bytes[2] != !bytes[3] &&
           (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0 ||
            (!bytes[0] == !bytes[2] && !bytes[1] == !bytes[3]));
}

/* Of the first line, before it is read. */
static void begin_error(struct creds_lines *lines, const char *text)
{
    lines->number = 1;
    creds_lines_error(lines, "%s", text);
    lines->number = 0;
}

void creds_lines_begin(struct creds_lines *lines, const struct secret *file, const char *path,
                       struct problems *problems)
{
    *lines = (struct creds_lines){
        .path = path, .problems = problems, .at = file->bytes, .end = file->bytes + file->size};
    if (is_utf16(file)) {
        begin_error(lines, "the file is UTF-16; save it as UTF-8 without a byte order mark");
        lines->at = lines->end;
    } else if (file->size >= 3 && memcmp(file->bytes, "\xef\xbb\xbf", 3) == 0) {
        begin_error(lines, "begins with a UTF-8 byte order mark; save the file without it");
        lines->at += 3;
    }
}

bool creds_lines_next(struct creds_lines *lines, uint8_t **text, size_t *size)
{
    if (lines->at >= lines->end) {
        if (lines->errors > ERRORS_MAX)
            problems_error(lines->problems, "%s: and %" PRIu32 " more lines with errors",
                           lines->path, lines->errors - ERRORS_MAX);
        return false;
    }
    uint8_t *newline = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    lines->is_unended = newline == NULL;
    *text = lines->at;
    *size = (size_t)((newline != NULL ? newline : lines->end) - lines->at);
    lines->at += *size + (newline != NULL);
    if (++lines->number % LINES_AT_ONCE == 0)
        give_way();
    if (*size > 0 && (*text)[*size - 1] == '\r')
        (*size)--;
    return true;
}

bool creds_lines_error(struct creds_lines *lines, const char *fmt, ...)
{
    if (++lines->errors > ERRORS_MAX)
        return false;
    struct err err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, args);
    va_end(args);
    problems_error(lines->problems, "%s:%" PRIu32 ": %s", lines->path, lines->number, err.text);
    return false;
}
