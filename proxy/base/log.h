/* Log lines on stderr: one event a line, key=value, from any thread.
 *
 *   time=2026-11-23T01:02:03.123Z level=info event=gate_ready workers=2
 *
 * A value that contains a space, quote, '=', backslash or a byte outside printable ASCII is written
 * in double quotes with \" \\ \xHH escapes, so a device cannot forge a line through its identity.
 * Each line is one write(2) that never waits: a line that finds the pipe full is lost, and the next
 * line that can be written is preceded by `event=log_dropped lines=N`. Never give it a secret. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Makes writes to stderr non-blocking if it is a pipe, without changing it for others who hold it:
 * a writer that comes between our look and our write could make us wait for its reader. Once, at
 * start. */
void log_own_stderr(void);

void log_set_level(enum log_level level);
bool log_is_enabled(enum log_level level);

/* Lines lost since the start because stderr could not take them at once. Any thread. */
uint64_t log_dropped_lines(void);

/* A line under construction, on the caller's stack. What does not fit is cut and marked
 * `cut=true`: put the longest value last. */
struct log_line {
    char text[1024];
    size_t len;
    bool is_cut;
    bool is_off; /* the level was not enabled at log_begin: nothing is added or written */
};

/* Starts a line with time, level and event; event is a literal like "session_closed". May be called
 * at a level that is not enabled; check log_is_enabled only to spare the making of values. */
void log_begin(struct log_line *line, enum log_level level, const char *event);
void log_add(struct log_line *line, const char *key, const char *value);
void log_add_bytes(struct log_line *line, const char *key, const void *value, size_t size);
void log_add_u64(struct log_line *line, const char *key, uint64_t value);
/* Milliseconds, written as seconds with three decimals: key `duration_s` = 12.345. */
void log_add_ms(struct log_line *line, const char *key, uint64_t value_ms);
void log_end(struct log_line *line);

/* One line with a free text: `event=EVENT text="..."`. */
void log_text(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Bounds the lines that strangers can cause: at most `per_s` lines in each second of now_ms. One
 * owner thread, which sets per_s and leaves the rest zero. When a later line is allowed again (or
 * log_limiter_flush is called from a tick after the second has ended) a line
 * `event=log_suppressed lines=N` is written first. */
struct log_limiter {
    uint32_t per_s;
    uint64_t second;
    uint32_t used;
    uint64_t held_back;
};

bool log_limiter_allows(struct log_limiter *limiter, uint64_t now_ms);
void log_limiter_flush(struct log_limiter *limiter, uint64_t now_ms);

#endif
