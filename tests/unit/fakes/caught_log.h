/* What the real log writes to stderr, caught: the lines as an operator reads them. */
#ifndef CAUGHT_LOG_H
#define CAUGHT_LOG_H

#include <stdint.h>

struct caught_log {
    int saved_stderr, fd;
    char text[65536];
};

/* Lines of every level from LOG_INFO up are caught until the end. */
void caught_log_begin(struct caught_log *log);
void caught_log_end(struct caught_log *log);

/* All that was logged since the last call. */
const char *caught_log_text(struct caught_log *log);
/* The one line that was logged, without its time. */
const char *caught_log_line(struct caught_log *log);
/* How many lines were logged since the last call. */
uint32_t caught_log_count(struct caught_log *log);

#endif
