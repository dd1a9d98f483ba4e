/* Log lines on stderr: one event a line, key=value, from any thread.
 *
 *   time=2026-11-23T01:02:03.123Z level=info event=gate_ready workers=2
 *
 * That is strict logfmt; with log_set_format(LOG_JSON) the same fields are one JSON object a line.
 * A text with anything but plain ASCII stands in double quotes, see base/log_value.h, so that a
 * device cannot forge a line through its identity. Where stderr is the journal's, each line begins
 * with its priority, <N>, as sd-daemon(3) wants it.
 *
 * Each line is one write(2). Nobody who logs waits for it, whatever stderr is: lines go into a ring
 * (base/log_ring.h) without a lock, and one thread of the log's own writes them, a moment later.
 * That thread alone waits for a pipe, FIFO or socket that nobody reads, a terminal that was stopped
 * (Ctrl-S), a file on a mount that does not answer. Meanwhile lines that find the ring full are
 * lost; the next one that can be written is preceded by `event=log_dropped lines=N`. So are lines
 * that stderr refuses (no reader any more, disk full). What is in the ring when the process is
 * killed or crashes is lost without a word.
 *
 * Never give it a secret. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

/* Starts the thread that writes, and looks whether stderr is the journal's. Before it, and after
 * log_stop(), the thread that logs writes, and waits for stderr. */
bool log_start(struct err *err) MUST_USE;

/* Waits until all lines are written, but a second at most: what stderr has not taken by then is
 * given up, and nothing is written any more. The process can end then, unless the kernel itself
 * does not let go of the thread, as with an NFS server that is away and a hard mount. */
void log_stop(void);

/* The same, but what stderr has not taken within a second is not given up: then the thread goes on,
 * and it is false. Else log_start() is to follow. */
bool log_pause(void) MUST_USE;

/* Whether there is a thread that writes; also one that log_pause() has not brought to an end. */
bool log_has_thread(void);

/* Any thread; of lines that are begun from now on. */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
bool log_is_enabled(enum log_level level);

/* Lines lost since the start because stderr did not take them. Any thread. */
uint64_t log_dropped_lines(void);

/* A line under construction, on the caller's stack. What does not fit is cut and marked
 * `cut=true`: put the longest value last. */
struct log_line {
    char text[1024];
    size_t len;
    enum log_format format;
    bool has_fields;
    bool is_cut;
    bool is_off; /* the level was not enabled at log_begin: nothing is added or written */
};

/* Starts a line with time, level and event; event is a literal like "session_closed". May be called
 * at a level that is not enabled; check log_is_enabled only to spare the making of values. */
void log_begin(struct log_line *line, enum log_level level, const char *event);
/* The same, and the line is written whatever the level: somebody has asked for it. */
void log_begin_always(struct log_line *line, enum log_level level, const char *event);
/* A text of ours or of an operator's. */
void log_add(struct log_line *line, const char *key, const char *value);
/* What a device, or whoever made its certificate, has chosen. Under the key KEY_hex, in hexadecimal
 * digits, if it is not UTF-8. */
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
