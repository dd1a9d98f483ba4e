#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char cut_mark[] = " cut=true";

/* Room that no value takes: a closing quote, the cut mark and the newline. */
enum { TAIL_BYTES = 1 + sizeof(cut_mark) - 1 + 1 };

static _Atomic int current_level = LOG_INFO;

/* The state of stderr. The lock makes "is there room?" and the write one step, so that two threads
 * cannot both take the last room in a pipe and one of them block. */
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t unreported;   /* lines lost since the last log_dropped line; under the lock */
static bool is_within_line;   /* a line was written in part; under the lock */
static _Atomic uint64_t lost; /* lines lost since the start */

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_is_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

uint64_t log_dropped_lines(void)
{
    return atomic_load_explicit(&lost, memory_order_relaxed);
}

/* --- a line under construction --- */

static size_t room(const struct log_line *line)
{
    size_t limit = sizeof(line->text) - TAIL_BYTES;
    return line->len < limit ? limit - line->len : 0; /* a closing quote may stand past the limit */
}

static void append(struct log_line *line, const char *text, size_t size)
{
    memcpy(line->text + line->len, text, size);
    line->len += size;
}

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

/* Writes c as it stands inside quotes; returns its size. */
static size_t escape(unsigned char c, char out[4])
{
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= ' ' && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

static void append_quoted(struct log_line *line, const unsigned char *value, size_t size)
{
    append(line, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        char text[4];
        size_t text_size = escape(value[i], text);
        if (text_size > room(line)) {
            line->is_cut = true;
            break;
        }
        append(line, text, text_size);
    }
    append(line, "\"", 1); /* its room is part of TAIL_BYTES */
}

void log_add_bytes(struct log_line *line, const char *key, const void *value, size_t size)
{
    if (line->is_off || line->is_cut)
        return;
    size_t key_size = strlen(key);
    if (room(line) < 1 + key_size + 2) { /* space, key, '=', one byte of the value or its quote */
        line->is_cut = true;
        return;
    }
    append(line, " ", line->len == 0 ? 0 : 1);
    append(line, key, key_size);
    append(line, "=", 1);

    const unsigned char *bytes = value;
    bool must_quote = size == 0;
    for (size_t i = 0; i < size && !must_quote; i++)
        must_quote = !is_plain(bytes[i]);
    if (must_quote) {
        append_quoted(line, bytes, size);
        return;
    }
    if (size > room(line)) {
        line->is_cut = true;
        size = room(line);
    }
    append(line, value, size);
}

void log_add(struct log_line *line, const char *key, const char *value)
{
    log_add_bytes(line, key, value, strlen(value));
}

void log_add_u64(struct log_line *line, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    log_add(line, key, text);
}

void log_add_ms(struct log_line *line, const char *key, uint64_t value_ms)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu.%03u", (unsigned long long)(value_ms / 1000),
             (unsigned)(value_ms % 1000));
    log_add(line, key, text);
}

static void add_time(struct log_line *line)
{
    struct timespec now;
    struct tm utc;
    char seconds[32], text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
    log_add(line, "time", text);
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    line->len = 0;
    line->is_cut = false;
    line->is_off = !log_is_enabled(level);
    if (line->is_off)
        return;
    add_time(line);
    log_add(line, "level", names[level]);
    log_add(line, "event", event);
}

/* --- stderr --- */

void log_own_stderr(void)
{
    struct stat kind;
    if (fstat(STDERR_FILENO, &kind) != 0 || !S_ISFIFO(kind.st_mode))
        return;
    int own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return;
    dup3(own, STDERR_FILENO, 0);
    close(own);
}

/* Never waits for a slow reader. On Linux a pipe that polls writable takes at least PIPE_BUF
 * bytes, more than any line. False if not all was written. */
static bool write_at_once(const char *text, size_t size)
{
    size_t done = 0;
    while (done < size) {
        struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
        int ready = poll(&out, 1, 0);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            break;
        /* To a socket, such as the journal's, without waiting even if another writer came first. */
        ssize_t written =
            send(STDERR_FILENO, text + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0 && errno == ENOTSOCK)
            written = write(STDERR_FILENO, text + done, size - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        done += (size_t)written;
    }
    if (done > 0)
        is_within_line = text[done - 1] != '\n';
    return done == size;
}

static bool report_lost(void)
{
    if (is_within_line && !write_at_once("\n", 1))
        return false;
    if (unreported == 0)
        return true;
    struct log_line line;
    log_begin(&line, LOG_ERROR, "log_dropped"); /* the one level that is never off */
    log_add_u64(&line, "lines", unreported);
    line.text[line.len++] = '\n';
    if (!write_at_once(line.text, line.len))
        return false;
    unreported = 0;
    return true;
}

void log_end(struct log_line *line)
{
    if (line->is_off)
        return;
    int saved_errno = errno;
    if (line->is_cut)
        append(line, cut_mark, sizeof(cut_mark) - 1);
    line->text[line->len++] = '\n';

    pthread_mutex_lock(&output_lock);
    if (!report_lost() || !write_at_once(line->text, line->len)) {
        unreported++;
        atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&output_lock);
    errno = saved_errno;
}

void log_text(enum log_level level, const char *event, const char *fmt, ...)
{
    struct log_line line;
    log_begin(&line, level, event);
    if (line.is_off)
        return;
    char text[sizeof(line.text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log_add(&line, "text", text);
    log_end(&line);
}

/* --- limiter --- */

void log_limiter_flush(struct log_limiter *limiter, uint64_t now_ms)
{
    if (limiter->held_back == 0 || now_ms / 1000 == limiter->second)
        return;
    struct log_line line;
    log_begin(&line, LOG_WARNING, "log_suppressed");
    log_add_u64(&line, "lines", limiter->held_back);
    log_end(&line);
    limiter->held_back = 0;
}

bool log_limiter_allows(struct log_limiter *limiter, uint64_t now_ms)
{
    log_limiter_flush(limiter, now_ms);
    if (now_ms / 1000 != limiter->second) {
        limiter->second = now_ms / 1000;
        limiter->used = 0;
    }
    if (limiter->used >= limiter->per_s) {
        limiter->held_back++;
        return false;
    }
    limiter->used++;
    return true;
}
