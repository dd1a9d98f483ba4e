/* The lines of a configuration file, and of what kind each is. Knows nothing of sections and keys.
 */
#ifndef CONFIG_LINES_H
#define CONFIG_LINES_H

#include "config/config.h"

struct config_lines {
    FILE *in;        /* borrowed */
    uint32_t number; /* of the line just read */
    size_t bytes;    /* read so far */
    /* The line just read, without newline, byte order mark and indentation. */
    char text[CONFIG_LINE_MAX_BYTES + 1];
    size_t bad_column; /* of its first byte that is not text; 0: there is none */
    bool is_more;      /* it is CONFIG_LINE_MORE, and has no comment any more */
    const char *rest;  /* of it, what config_lines_take_piece() still gives; NULL: nothing */
};

enum config_line {
    CONFIG_LINE_NONE,           /* the end of the file */
    CONFIG_LINE_FILE_TOO_LARGE, /* nobody reads on */
    CONFIG_LINE_UTF16,          /* neither */
    CONFIG_LINE_BLANK,          /* or a comment */
    CONFIG_LINE_NOT_TEXT,
    CONFIG_LINE_TOO_LONG,
    CONFIG_LINE_HEADER, /* of a section */
    CONFIG_LINE_SETTING,
    CONFIG_LINE_MORE, /* of the value of the setting before: it is indented */
    CONFIG_LINE_OTHER,
};

enum config_line config_lines_next(struct config_lines *lines);

/* inih takes short lines only, and cuts longer ones. So it is given the line just read in pieces,
 * which belong together without anything between them: the first of a setting as it is, all others
 * indented, as more of the value before. Writes one into piece, of `size` bytes, with a newline;
 * the line has been given when `rest` is NULL. False if there is no place to cut the line at. */
bool config_lines_take_piece(struct config_lines *lines, char *piece, size_t size) MUST_USE;

#endif
