/* The lines of a configuration file, and of what kind each is. Knows nothing of sections and keys.
 */
#ifndef CONFIG_LINES_H
#define CONFIG_LINES_H

#include "config/config.h"

struct config_lines {
    FILE *in;        /* borrowed */
    uint32_t number; /* of the line just read */
    size_t bytes;    /* read so far */
    /* The line just read, without newline, byte order mark and indentation; as much of it as inih
     * would take. */
    char text[CONFIG_LINE_MAX_BYTES + 1];
    size_t bad_column; /* of its first byte that is not text; 0: there is none */
};

enum config_line {
    CONFIG_LINE_NONE,           /* the end of the file */
    CONFIG_LINE_FILE_TOO_LARGE, /* nobody reads on */
    CONFIG_LINE_BLANK,          /* or a comment */
    CONFIG_LINE_NOT_TEXT,
    CONFIG_LINE_TOO_LONG,
    CONFIG_LINE_HEADER, /* of a section */
    CONFIG_LINE_SETTING,
    CONFIG_LINE_OTHER,
};

enum config_line config_lines_next(struct config_lines *lines);

#endif
