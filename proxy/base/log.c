#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log_ring.h"
#include "base/log_value.h"
#include "base/utf8.h"

/* What stands around the fields of a line, in each format. The fields are the same. */
struct form {
    const char *open, *close;
    const char *between;              /* two fields */
    const char *key_open, *key_close; /* around a key */
    const char *cut_mark;
    bool quotes_all; /* texts that need it not, too */
};

static const struct form forms[] = {
    [LOG_LOGFMT] = {.open = "",
                    .close = "\n",
                    .between = " ",
                    .key_open = "",
                    .key_close = "=",
                    .cut_mark = " cut=true"},
    [LOG_JSON] = {.open = "{",
                  .close = "}\n",
                  .between = ",",
                  .key_open = "\"",
                  .key_close = "\":",
                  .cut_mark = ",\"cut\":true",
                  .quotes_all = true},
};

/* Room that no value takes: a closing quote, the cut mark and the end. */
enum { TAIL_BYTES = 1 + sizeof(",\"cut\":true") - 1 + sizeof("}\n") - 1 };

/* How long the last lines may take. */
enum { LAST_LINES_MS = 1000 };

/* After the first line the thread that writes lets others gather, of a thousand handshakes: to wake
 * it costs more than to format a line. */
enum { GATHER_US = 1000 };

_Static_assert(sizeof(((struct log_line *)0)->text) <= LOG_RING_LINE_BYTES, "a line fits");

static _Atomic int current_level = LOG_INFO;
static _Atomic int current_format = LOG_LOGFMT;
static _Atomic bool is_journal; /* stderr is */

/* What whoever writes knows of stderr: the log's thread, or under no_writer_lock who logs. */
struct output {
    uint64_t lost_reported; /* of those that found no room in the ring */
    uint64_t refused;       /* lines that stderr refused, since the last log_dropped line */
    bool is_within_line;    /* a line was written in part */
    struct log_ring_line line;
};

static struct log_ring ring;
static struct output output;
static _Atomic uint64_t refused_lines; /* since the start */

static pthread_t writer;
static _Atomic bool has_writer;
enum writer_phase { WRITER_RUNS, WRITER_IS_TOLD_TO_END, WRITER_ENDS };
static _Atomic int writer_phase;
static _Atomic bool is_awake; /* the writer has been told, and not looked yet */
static sem_t wake;
static pthread_mutex_t no_writer_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&current_format, (int)format, memory_order_relaxed);
}

bool log_is_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

uint64_t log_dropped_lines(void)
{
    return atomic_load_explicit(&ring.lost, memory_order_relaxed) +
           atomic_load_explicit(&refused_lines, memory_order_relaxed);
}

/* --- a line under construction --- */

static size_t room(const struct log_line *line)
{
    size_t limit = sizeof(line->text) - TAIL_BYTES;
    return line->len < limit ? limit - line->len : 0; /* a closing quote may stand past the limit */
}

static void append_text(struct log_line *line, const char *text)
{
    size_t size = strlen(text);
    memcpy(line->text + line->len, text, size);
    line->len += size;
}

/* Begins a field whose value takes `least` bytes or more; false: there is no room for it. */
static bool add_key(struct log_line *line, const char *key, const char *suffix, size_t least)
{
    const struct form *form = &forms[line->format];
    const char *parts[] = {form->between, form->key_open, key, suffix, form->key_close};
    size_t size = least;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        size += strlen(parts[i]);
    if (line->is_off || line->is_cut)
        return false;
    line->is_cut = room(line) < size;
    for (size_t i = line->has_fields ? 0 : 1; i < sizeof(parts) / sizeof(parts[0]) && !line->is_cut;
         i++)
        append_text(line, parts[i]);
    line->has_fields = true;
    return !line->is_cut;
}

/* At `value` after add_key; the closing quote has its room in TAIL_BYTES. */
static void add_text(struct log_line *line, const char *value, size_t size)
{
    if (!forms[line->format].quotes_all && log_value_is_plain(value, size)) {
        line->is_cut = size > room(line);
        size = line->is_cut ? room(line) : size;
        memcpy(line->text + line->len, value, size);
        line->len += size;
        return;
    }
    append_text(line, "\"");
    line->len += log_value_quote(value, size, line->text + line->len, room(line), &line->is_cut);
    append_text(line, "\"");
}

void log_add(struct log_line *line, const char *key, const char *value)
{
    if (add_key(line, key, "", 1))
        add_text(line, value, strlen(value));
}

void log_add_bytes(struct log_line *line, const char *key, const void *value, size_t size)
{
    if (line->is_off)
        return;
    if (utf8_is_valid(value, size)) {
        if (add_key(line, key, "", 1))
            add_text(line, value, size);
        return;
    }
    bool is_quoted = forms[line->format].quotes_all;
    if (!add_key(line, key, "_hex", 3))
        return;
    append_text(line, is_quoted ? "\"" : "");
    line->len += log_value_hex(value, size, line->text + line->len, room(line), &line->is_cut);
    append_text(line, is_quoted ? "\"" : "");
}

/* Whole or not at all: a part of it would be another number. */
static void add_number(struct log_line *line, const char *key, const char *digits)
{
    if (add_key(line, key, "", strlen(digits)))
        append_text(line, digits);
}

void log_add_u64(struct log_line *line, const char *key, uint64_t value)
{
    char text[24];
    if (line->is_off)
        return;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    add_number(line, key, text);
}

void log_add_ms(struct log_line *line, const char *key, uint64_t value_ms)
{
    char text[32];
    if (line->is_off)
        return;
    snprintf(text, sizeof(text), "%llu.%03u", (unsigned long long)(value_ms / 1000),
             (unsigned)(value_ms % 1000));
    add_number(line, key, text);
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
    line->is_off = !log_is_enabled(level);
    if (!line->is_off)
        log_begin_always(line, level, event);
}

void log_begin_always(struct log_line *line, enum log_level level, const char *event)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    /* Of syslog, as sd-daemon(3) has them. */
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    line->format = (enum log_format)atomic_load_explicit(&current_format, memory_order_relaxed);
    line->len = 0;
    line->is_cut = line->is_off = line->has_fields = false;
    if (atomic_load_explicit(&is_journal, memory_order_relaxed))
        append_text(line, priorities[level]);
    append_text(line, forms[line->format].open);
    add_time(line);
    log_add(line, "level", names[level]);
    log_add(line, "event", event);
}

static void close_line(struct log_line *line)
{
    if (line->is_cut)
        append_text(line, forms[line->format].cut_mark);
    append_text(line, forms[line->format].close);
}

/* --- stderr --- */

/* JOURNAL_STREAM has the device and inode of what the journal reads, and is inherited by programs
 * whose stderr is something else: systemd.exec(5). */
static void look_for_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat stat;
    bool is_there = text != NULL && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
                    fstat(STDERR_FILENO, &stat) == 0 && device == stat.st_dev &&
                    inode == stat.st_ino;
    atomic_store_explicit(&is_journal, is_there, memory_order_relaxed);
}

/* Waits as long as it takes; false if stderr refuses. Not for poll() to say when there is room: on
 * a terminal it may be wrong. */
static bool write_all(struct output *out, const char *text, size_t size)
{
    static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(STDERR_FILENO, text + done, size - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) { /* made non-blocking by somebody who has it too */
            nanosleep(&pause, NULL);
            continue;
        }
        if (written <= 0)
            break;
        done += (size_t)written;
    }
    if (done > 0)
        out->is_within_line = text[done - 1] != '\n';
    return done == size;
}

/* Says how many lines were lost since it was last said, of those that found no room before
 * `lost_before` lines were lost. */
static bool report_lost(struct output *out, uint64_t lost_before)
{
    uint64_t count = out->refused + (lost_before - out->lost_reported);
    if (count == 0)
        return true;
    struct log_line line;
    log_begin(&line, LOG_ERROR, "log_dropped"); /* the one level that is never off */
    log_add_u64(&line, "lines", count);
    close_line(&line);
    if (!write_all(out, line.text, line.len))
        return false;
    out->refused = 0;
    out->lost_reported = lost_before;
    return true;
}

static void write_line(struct output *out, const struct log_ring_line *line)
{
    /* What was put in by two threads at once may be counted in either order. */
    uint64_t lost_before =
        line->lost_before > out->lost_reported ? line->lost_before : out->lost_reported;
    if ((!out->is_within_line || write_all(out, "\n", 1)) && report_lost(out, lost_before) &&
        write_all(out, line->text, line->size))
        return;
    out->refused++;
    atomic_fetch_add_explicit(&refused_lines, 1, memory_order_relaxed);
}

static void write_what_is_there(struct output *out)
{
    while (log_ring_take(&ring, &out->line))
        write_line(out, &out->line);
    uint64_t lost = atomic_load_explicit(&ring.lost, memory_order_relaxed);
    if (lost != out->lost_reported)
        report_lost(out, lost);
}

static void *write_until_stopped(void *argument)
{
    static const struct timespec pause = {.tv_nsec = GATHER_US * 1000};
    (void)argument;
    prctl(PR_SET_NAME, "log");
    for (;;) {
        /* First of all: who puts a line in from now on, or asks to stop, says so again. */
        atomic_exchange(&is_awake, false);
        int phase = atomic_load(&writer_phase);
        write_what_is_there(&output);
        if (phase == WRITER_IS_TOLD_TO_END &&
            atomic_compare_exchange_strong(&writer_phase, &phase, WRITER_ENDS))
            return NULL;
        while (sem_wait(&wake) != 0)
            ; /* EINTR: a debugger */
        nanosleep(&pause, NULL);
    }
}

static void wake_writer(void)
{
    if (!atomic_exchange(&is_awake, true))
        sem_post(&wake);
}

bool log_start(struct err *err)
{
    sigset_t all, before;
    look_for_journal();
    atomic_store(&writer_phase, WRITER_RUNS);
    atomic_store(&is_awake, false);
    sem_init(&wake, 0, 0); /* cannot fail with these arguments */
    sigfillset(&all);      /* signals are the main thread's; SIGPIPE stays pending */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&writer, NULL, write_until_stopped, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return err_set(err, "the thread of the log cannot be started: %s (ulimit -u)",
                       strerror(error));
    atomic_store(&has_writer, true);
    return true;
}

static bool tell_to_end(void)
{
    int phase = WRITER_RUNS;
    return atomic_load(&has_writer) &&
           atomic_compare_exchange_strong(&writer_phase, &phase, WRITER_IS_TOLD_TO_END);
}

static bool join_in_time(void)
{
    static const struct timespec pause = {.tv_nsec = 1000 * 1000};
    wake_writer();
    for (int ms = 0; ms < LAST_LINES_MS; ms++) {
        if (pthread_tryjoin_np(writer, NULL) == 0) {
            atomic_store(&has_writer, false);
            return true;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

void log_stop(void)
{
    if (tell_to_end() && !join_in_time()) /* else there is none, or it was given up already */
        pthread_detach(writer); /* it waits for stderr, and does so until the process ends */
}

bool log_pause(void)
{
    int phase = WRITER_IS_TOLD_TO_END;
    if (!tell_to_end())
        return false;
    if (join_in_time())
        return true;
    if (atomic_compare_exchange_strong(&writer_phase, &phase, WRITER_RUNS))
        return false;
    pthread_join(writer, NULL); /* it ends just now */
    atomic_store(&has_writer, false);
    return true;
}

bool log_has_thread(void)
{
    return atomic_load(&has_writer);
}

void log_end(struct log_line *line)
{
    if (line->is_off)
        return;
    int saved_errno = errno;
    close_line(line);
    bool is_kept = log_ring_put(&ring, line->text, (uint32_t)line->len);
    if (atomic_load_explicit(&has_writer, memory_order_relaxed)) {
        if (is_kept)
            wake_writer();
    } else {
        pthread_mutex_lock(&no_writer_lock);
        write_what_is_there(&output);
        pthread_mutex_unlock(&no_writer_lock);
    }
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
