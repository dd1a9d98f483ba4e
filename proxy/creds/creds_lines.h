/* The lines of a credentials file, and what is wrong with them, each with its number. Never shows
 * any of a line: it may hold a key. One thread. */
#ifndef CREDS_LINES_H
#define CREDS_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problems.h"
#include "base/secret.h"

struct creds_lines {
    const char *path;          /* borrowed, and so are these */
    struct problems *problems; /* what is wrong with the first 20 lines that have errors */
    uint8_t *at, *end;         /* the rest of the file */
    uint32_t number;           /* of the line, from 1 */
    uint32_t errors;           /* all of them */
    bool is_unended;           /* the line is the last one, and no newline follows */
};

/* How many lines there are at most, the last one with or without its newline. */
size_t creds_lines_count(const struct secret *file);

/* Before the first line. A byte order mark is an error; so is UTF-16, of which no line is read. */
void creds_lines_begin(struct creds_lines *lines, const struct secret *file, const char *path,
                       struct problems *problems);
/* The next line, without its end (LF or CR LF). What stands before it in the file is not read any
 * more, and may be written over. False: there is none, and errors that were only counted are
 * reported. */
bool creds_lines_next(struct creds_lines *lines, uint8_t **text, size_t *size);
/* Something is wrong with this line. Returns false. */
bool creds_lines_error(struct creds_lines *lines, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
