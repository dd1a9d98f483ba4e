#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

/* --- stderr, caught --- */

static int saved_stderr = -1;
static int caught_fd = -1;
static char caught[1 << 20];

static void catch_into(int write_fd, int read_fd)
{
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_true(dup2(write_fd, STDERR_FILENO) >= 0);
    close(write_fd);
    caught_fd = read_fd;
}

static void catch_in_file(void)
{
    char path[] = "/tmp/dtlsgate-test-log-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    catch_into(dup(fd), fd);
}

static void catch_in_pipe(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0); /* only our reading end */
    catch_into(fds[1], fds[0]);
}

/* What a pipe or file holds, as text. */
static const char *read_caught(void)
{
    size_t size = 0;
    if (lseek(caught_fd, 0, SEEK_CUR) >= 0)
        lseek(caught_fd, 0, SEEK_SET);
    for (;;) {
        ssize_t got = read(caught_fd, caught + size, sizeof(caught) - 1 - size);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    caught[size] = '\0';
    return caught;
}

static const char *catch_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    read_caught();
    close(caught_fd);
    saved_stderr = caught_fd = -1;
    return caught;
}

/* The part of a caught line after its time. */
static const char *after_time(const char *line)
{
    const char *level = strstr(line, " level=");
    assert_non_null(level);
    return level + 1;
}

static unsigned count_lines(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static unsigned count_matches(const char *text, const char *what)
{
    unsigned count = 0;
    while ((text = strstr(text, what)) != NULL) {
        count++;
        text += strlen(what);
    }
    return count;
}

static int reset(void **state)
{
    (void)state;
    log_set_level(LOG_INFO);
    log_set_format(LOG_LOGFMT);
    return 0;
}

static void start(void)
{
    struct err err;
    if (!log_start(&err))
        fail_msg("%s", err.text);
}

/* --- the shape of a line --- */

static void test_line(void **state)
{
    (void)state;
    struct log_line line;
    catch_in_file();
    log_begin(&line, LOG_INFO, "session_closed");
    log_add(&line, "listener", "coaps");
    log_add_u64(&line, "session", 17);
    log_add_u64(&line, "most", UINT64_MAX);
    log_add_ms(&line, "duration_s", 12345);
    log_add_ms(&line, "zero_s", 7);
    log_add_bytes(&line, "identity", "device1", 7);
    log_end(&line);
    const char *text = catch_end();
    assert_string_equal(after_time(text),
                        "level=info event=session_closed listener=coaps session=17 "
                        "most=18446744073709551615 duration_s=12.345 zero_s=0.007 "
                        "identity=device1\n");
    regex_t shape;
    assert_int_equal(
        regcomp(&shape,
                "^time=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                "\\.[0-9]{3}Z level=",
                REG_EXTENDED | REG_NOSUB),
        0);
    assert_int_equal(regexec(&shape, text, 0, NULL, 0), 0);
    regfree(&shape);
}

/* The same fields; numbers are numbers. */
static void test_json_line(void **state)
{
    (void)state;
    struct log_line line;
    log_set_format(LOG_JSON);
    catch_in_file();
    log_begin(&line, LOG_INFO, "session_closed");
    log_add(&line, "listener", "coaps");
    log_add_u64(&line, "most", UINT64_MAX);
    log_add_ms(&line, "duration_s", 12345);
    log_add_bytes(&line, "identity", "device1", 7);
    log_add_bytes(&line, "other", "\xff\x01", 2);
    log_add(&line, "none", "");
    log_end(&line);
    const char *text = catch_end();
    assert_true(strncmp(text, "{\"time\":\"20", 11) == 0);
    assert_string_equal(strstr(text, "Z\",") + 3,
                        "\"level\":\"info\",\"event\":\"session_closed\",\"listener\":\"coaps\","
                        "\"most\":18446744073709551615,\"duration_s\":12.345,"
                        "\"identity\":\"device1\",\"other_hex\":\"ff01\",\"none\":\"\"}\n");
}

/* A line that was begun in one format stays in it. */
static void test_format_changes_between_lines(void **state)
{
    (void)state;
    struct log_line line;
    catch_in_file();
    log_begin(&line, LOG_INFO, "old");
    log_set_format(LOG_JSON);
    log_add(&line, "v", "x");
    log_end(&line);
    log_text(LOG_INFO, "new", "x");
    const char *text = catch_end();
    assert_non_null(strstr(text, "Z level=info event=old v=x\n{\"time\":"));
    assert_non_null(strstr(text, "\"event\":\"new\",\"text\":\"x\"}\n"));
}

/* What stands behind "v": as it is in logfmt, and within JSON, where every text has quotes. */
static const struct {
    const char *value;
    size_t size;
    const char *written;
} values[] = {
    {"plain-1.2/[::1]:5684", 20, "plain-1.2/[::1]:5684"},
    {"", 0, "\"\""},
    {"a b", 3, "\"a b\""},
    {"a=b", 3, "\"a=b\""},
    {"it's", 4, "\"it's\""},
    {"say \"x\"", 7, "\"say \\\"x\\\"\""},
    {"back\\slash", 10, "\"back\\\\slash\""},
    {"x\nlevel=error", 13, "\"x\\nlevel=error\""},
    {"\0\r\t\x1b\x7f", 5, "\"\\u0000\\r\\t\\u001b\\u007f\""},
    {"m\xc3\xbcll \xe6\xb0\xb4", 9, "\"m\xc3\xbcll \xe6\xb0\xb4\""},
    {"\xf0\x9f\x8c\xa1", 4, "\"\xf0\x9f\x8c\xa1\""},
    /* A line's end and the control sequences of terminals in C1, other ends of lines, the direction
     * of what follows, a byte order mark. */
    {"\xc2\x85\xc2\x9b", 4, "\"\\u0085\\u009b\""},
    {"\xe2\x80\xa8\xe2\x80\xa9", 6, "\"\\u2028\\u2029\""},
    {"\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\xef\xbb\xbf", 11, "\"\\u202e\\u2066\\u061c\\ufeff\""},
};

static void check_value(enum log_format format, const char *value, size_t size, const char *wanted)
{
    struct log_line line;
    log_set_format(format);
    catch_in_file();
    log_begin(&line, LOG_ERROR, "e");
    log_add_bytes(&line, "v", value, size);
    log_add(&line, "after", "1");
    log_end(&line);
    assert_string_equal(strstr(catch_end(), "v"), strstr(wanted, "v")); /* of "level" */
}

static void test_escaping(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char wanted[200];
        const char *quote = values[i].written[0] == '"' ? "" : "\"";
        snprintf(wanted, sizeof(wanted), "level=error event=e v=%s after=1\n", values[i].written);
        check_value(LOG_LOGFMT, values[i].value, values[i].size, wanted);
        snprintf(wanted, sizeof(wanted),
                 "level\":\"error\",\"event\":\"e\",\"v\":%s%s%s,\"after\":\"1\"}\n", quote,
                 values[i].written, quote);
        check_value(LOG_JSON, values[i].value, values[i].size, wanted);
    }
}

/* A device's bytes that are no text are told exactly; our own texts stay readable. */
static void test_not_utf8(void **state)
{
    (void)state;
    static const char bad[] = "a\xff \xc3\n";
    struct log_line line;
    catch_in_file();
    log_begin(&line, LOG_INFO, "e");
    log_add_bytes(&line, "identity", bad, sizeof(bad) - 1);
    log_add(&line, "path", bad);
    log_end(&line);
    assert_string_equal(after_time(catch_end()), "level=info event=e identity_hex=61ff20c30a "
                                                 "path=\"a\xef\xbf\xbd \xef\xbf\xbd\\n\"\n");
}

/* What every line must be, as far as bytes go; what is more the integration tests look at. */
static void check_shape(const char *text, enum log_format format)
{
    size_t length = strlen(text);
    assert_true(length <= sizeof(((struct log_line *)0)->text));
    assert_int_equal(count_lines(text), 1);
    assert_int_equal(text[length - 1], '\n');
    assert_true(utf8_is_valid(text, length));
    if (format == LOG_LOGFMT)
        return;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(object));
    json_decref(object);
}

static bool check_cut(enum log_format format, const char *filler, size_t size)
{
    struct log_line line;
    char value[1100];
    for (size_t i = 0; i < size; i++)
        value[i] = filler[i % strlen(filler)];
    log_set_format(format);
    catch_in_file();
    log_begin(&line, LOG_INFO, "e");
    log_add_bytes(&line, "v", value, size);
    log_add_u64(&line, "number", 1234567);
    log_add(&line, "quoted", "a b");
    log_end(&line);
    const char *text = catch_end();
    check_shape(text, format);
    bool is_cut = strstr(text, format == LOG_JSON ? "\"cut\":true" : " cut=true\n") != NULL;
    if (is_cut)
        assert_true(strlen(text) > sizeof(line.text) - 60); /* not without need */
    else
        assert_non_null(
            strstr(text, format == LOG_JSON ? "\"quoted\":\"a b\"}\n" : " quoted=\"a b\"\n"));
    const char *number = strstr(text, format == LOG_JSON ? "\"number\":" : " number=");
    assert_true(number != NULL ? strstr(number, "1234567") != NULL : is_cut);
    if (format == LOG_LOGFMT && strcmp(filler, "\xff") != 0 && strcmp(filler, "x") != 0)
        assert_int_equal(count_matches(text, "\"") % 2, 0);
    return is_cut;
}

/* Values of every length around the size of a line, of what is plain, quoted, escaped, several
 * bytes long or no text: whole or marked as cut, always one line as it must be. */
static void test_cut(void **state)
{
    (void)state;
    static const char *const fillers[] = {"x",   " ", "\n", "\x01", "\xc3\xbc", "\xf0\x9f\x8c\xa1",
                                          "\xff"};
    unsigned whole = 0, cut = 0;
    for (size_t f = 0; f < sizeof(fillers) / sizeof(fillers[0]); f++) {
        for (size_t size = 100; size < 1100; size++) {
            for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
                bool is_cut = check_cut((enum log_format)format, fillers[f], size);
                cut += is_cut;
                whole += !is_cut;
            }
        }
    }
    assert_true(whole > 3000 && cut > 3000);
}

static void test_text(void **state)
{
    (void)state;
    char longer[2000];
    memset(longer, 'y', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    catch_in_file();
    log_text(LOG_WARNING, "config_warning", "line %d: %s", 3, "odd");
    log_text(LOG_WARNING, "long", "%s", longer);
    const char *text = catch_end();
    assert_true(strncmp(after_time(text),
                        "level=warning event=config_warning text=\"line 3: odd\"\n", 53) == 0);
    assert_int_equal(count_lines(text), 2);
    assert_non_null(strstr(text, "yyy cut=true\n"));
}

static void test_levels(void **state)
{
    (void)state;
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (int set = LOG_ERROR; set <= LOG_DEBUG; set++) {
        log_set_level((enum log_level)set);
        catch_in_file();
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            assert_int_equal(log_is_enabled((enum log_level)level), level <= set);
            log_text((enum log_level)level, names[level], "x");
        }
        struct log_line line; /* that somebody has asked for */
        log_begin_always(&line, LOG_DEBUG, "always");
        log_end(&line);
        const char *text = catch_end();
        assert_int_equal(count_lines(text), set + 2);
        assert_non_null(strstr(text, "level=debug event=always\n"));
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            char wanted[64];
            snprintf(wanted, sizeof(wanted), "level=%s event=%s ", names[level], names[level]);
            assert_int_equal(strstr(text, wanted) != NULL, level <= set);
        }
    }
}

/* A level that is off costs a look at it. */
static void test_level_that_is_off(void **state)
{
    (void)state;
    struct log_line line = {.len = 17};
    memset(line.text, 'x', sizeof(line.text));
    catch_in_file();
    log_begin(&line, LOG_DEBUG, "e");
    log_add(&line, "key", "value");
    log_add_bytes(&line, "bytes", "\xff", 1);
    log_add_u64(&line, "number", 17);
    log_add_ms(&line, "time_s", 17);
    log_end(&line);
    const char *text = catch_end();
    assert_string_equal(text, "");
    assert_true(line.is_off);
    assert_int_equal(line.len, 17);
    for (size_t i = 0; i < sizeof(line.text); i++)
        assert_int_equal(line.text[i], 'x'); /* nothing was written into it */
}

/* With the journal at the other end, and only then: the variable is inherited by programs whose
 * stderr goes elsewhere. */
static void test_journal(void **state)
{
    (void)state;
    static const char *const begins[] = {"<3>time=", "<4>time=", "<6>time=", "<7>time="};
    struct stat stat;
    char stream[64];
    log_set_level(LOG_DEBUG);
    for (int other = 0; other <= 1; other++) {
        catch_in_file();
        assert_int_equal(fstat(STDERR_FILENO, &stat), 0);
        snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)stat.st_dev,
                 (unsigned long long)stat.st_ino + (unsigned)other);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        start();
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
            log_text((enum log_level)level, "e", "x");
        log_set_format(LOG_JSON);
        log_text(LOG_INFO, "e", "x");
        log_set_format(LOG_LOGFMT);
        log_stop();
        const char *line = catch_end();
        assert_int_equal(count_lines(line), 5);
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            const char *begin = begins[level] + (other ? 3 : 0);
            assert_true(strncmp(line, begin, strlen(begin)) == 0);
            line = strchr(line, '\n') + 1;
        }
        assert_true(strncmp(line, other ? "{\"time" : "<6>{\"time", other ? 6 : 9) == 0);
    }
    unsetenv("JOURNAL_STREAM");
    catch_in_file();
    start();
    log_text(LOG_INFO, "e", "x");
    log_stop();
    assert_true(strncmp(catch_end(), "time=", 5) == 0);
}

static void test_errno_is_kept(void **state)
{
    (void)state;
    catch_in_file();
    close(STDERR_FILENO);
    errno = ENOTDIR;
    log_text(LOG_ERROR, "e", "x");
    assert_int_equal(errno, ENOTDIR);
    catch_end();
    catch_in_file();
    log_text(LOG_ERROR, "later", "x"); /* reports the one lost above: the next test starts clean */
    assert_non_null(strstr(catch_end(), "event=log_dropped lines=1\n"));
}

/* --- a reader that does not read --- */

/* Number i, in a line that is as long as most. */
static void log_number(int i)
{
    log_text(LOG_INFO, "number", "%d, some more text to make the line longer", i);
}

/* From 0 on, until the log's thread waits for stderr and the ring is full; returns how many. */
static int log_until_stuck(void)
{
    static const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t before = log_dropped_lines();
    int count = 0;
    while (log_dropped_lines() == before)
        log_number(count++);
    for (int lost_on_end = 0; lost_on_end < 100; lost_on_end++) {
        before = log_dropped_lines();
        log_number(count++);
        if (log_dropped_lines() == before)
            lost_on_end = 0; /* it had only been slow */
        nanosleep(&pause, NULL);
    }
    return count;
}

/* Lines that are written, and lines that are reported lost, in a text of whole lines. */
static uint64_t count_all(const char *text)
{
    static const char report[] = "level=error event=log_dropped lines=";
    uint64_t count = 0;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strncmp(line, "time=", 5) == 0);
        assert_non_null(strchr(line, '\n'));
        bool is_report = strncmp(after_time(line), report, sizeof(report) - 1) == 0;
        count +=
            is_report ? strtoull(after_time(line) + sizeof(report) - 1, NULL, 10) : (uint64_t)1;
    }
    return count;
}

/* Reads on until the account of so many lines is complete. */
static const char *read_all(uint64_t count)
{
    static char all[sizeof(caught)];
    size_t size = 0;
    all[0] = '\0';
    do {
        size_t more = strlen(read_caught());
        assert_true(size + more < sizeof(all));
        memcpy(all + size, caught, more + 1);
        size += more;
        sched_yield();
    } while (size == 0 || all[size - 1] != '\n' || count_all(all) < count);
    assert_int_equal(count_all(all), count);
    return all;
}

/* The numbers in order, and where some are missing, a report of how many. */
static void check_gaps(const char *text)
{
    uint64_t next = 0;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *number = strstr(line, " event=number text=\"");
        if (number != NULL && number < strchr(line, '\n'))
            assert_int_equal(strtoull(number + strlen(" event=number text=\""), NULL, 10), next++);
        else
            next += strtoull(strstr(line, " lines=") + strlen(" lines="), NULL, 10);
    }
}

/* What stderr is at this moment is not read before lines have been lost. */
static void check_drop_and_report(void)
{
    start();
    int count = log_until_stuck();
    const char *text = read_all((uint64_t)count);
    assert_non_null(strstr(text, "event=log_dropped"));
    check_gaps(text);
    log_text(LOG_INFO, "again", "x");
    log_stop();
    assert_string_equal(after_time(catch_end()), "level=info event=again text=x\n");
}

static void test_full_pipe_drops_and_reports(void **state)
{
    (void)state;
    alarm(20); /* a log that waits for the reader would hang here for ever */
    catch_in_pipe();
    check_drop_and_report();
    alarm(0);
}

/* As under a service manager. */
static void test_full_socket_drops_and_reports(void **state)
{
    (void)state;
    int fds[2];
    alarm(20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    catch_into(fds[1], fds[0]);
    check_drop_and_report();
    alarm(0);
}

/* Made non-blocking by somebody else: that the kernel refuses for now is no reason to lose a line.
 */
static void test_non_blocking_socket(void **state)
{
    (void)state;
    int fds[2];
    alarm(20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    catch_into(fds[1], fds[0]);
    check_drop_and_report();
    alarm(0);
}

/* One line is one datagram. */
static void test_full_datagram_socket(void **state)
{
    (void)state;
    int fds[2];
    alarm(20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    catch_into(fds[1], fds[0]);
    check_drop_and_report();
    alarm(0);
}

/* Through a terminal that nobody reads, from the first line until it is full. */
static void test_unread_terminal(void **state)
{
    (void)state;
    alarm(20);
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(terminal >= 0);
    assert_int_equal(grantpt(terminal), 0);
    assert_int_equal(unlockpt(terminal), 0);
    int line_end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(line_end >= 0);
    struct termios attributes;
    assert_int_equal(tcgetattr(line_end, &attributes), 0);
    attributes.c_oflag &= ~(tcflag_t)ONLCR;
    assert_int_equal(tcsetattr(line_end, TCSANOW, &attributes), 0);
    catch_into(line_end, terminal);
    check_drop_and_report();
    alarm(0);
}

/* A reader that goes away: those lines are counted as well, and the next reader is told. */
static void test_no_reader(void **state)
{
    (void)state;
    alarm(20);
    uint64_t before = log_dropped_lines();
    catch_in_pipe();
    start();
    close(caught_fd);
    for (int i = 0; i < 5; i++)
        log_number(i);
    log_stop();
    assert_int_equal(log_dropped_lines(), before + 5);
    caught_fd = dup(saved_stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(caught_fd);
    catch_in_file();
    start();
    log_text(LOG_INFO, "again", "x");
    log_stop();
    const char *text = catch_end();
    assert_string_equal(after_time(strchr(text, '\n')), "level=info event=again text=x\n");
    assert_non_null(strstr(text, "level=error event=log_dropped lines=5\n"));
    alarm(0);
}

enum { THREADS = 4, LINES_EACH = 2000 };

static void *log_many(void *number)
{
    char value[300];
    memset(value, 'a' + *(int *)number, sizeof(value));
    for (int i = 0; i < LINES_EACH; i++) {
        struct log_line line;
        log_begin(&line, i % 2 == 0 ? LOG_INFO : LOG_DEBUG, "thread");
        log_add_bytes(&line, "value", value, sizeof(value));
        log_end(&line);
    }
    return NULL;
}

/* Several threads, and a pipe that is not read before all of them are done. */
static void test_threads_on_a_full_pipe(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    uint64_t before = log_dropped_lines();
    alarm(60);
    catch_in_pipe();
    start();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(log_dropped_lines() > before);
    const char *text = read_all(THREADS * LINES_EACH / 2);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(strstr(line, " event="), " event=log_dropped", 18) == 0)
            continue;
        const char *value = strstr(line, " event=thread value=");
        assert_non_null(value);
        value += strlen(" event=thread value=");
        assert_int_equal(strspn(value, (char[]){value[0], '\0'}), 300);
        assert_int_equal(value[300], '\n');
    }
    log_stop();
    assert_string_equal(catch_end(), "");
    alarm(0);
}

static void test_pause(void **state)
{
    (void)state;
    catch_in_file();
    start();
    log_text(LOG_INFO, "before", "x");
    assert_true(log_has_thread());
    assert_true(log_pause());
    assert_false(log_has_thread());
    log_text(LOG_INFO, "between", "x");
    assert_non_null(strstr(read_caught(), "event=between")); /* by this thread */
    start();
    log_text(LOG_INFO, "after", "x");
    log_stop();
    const char *text = catch_end();
    assert_int_equal(count_all(text), 3);
    assert_true(strstr(text, "event=before") < strstr(text, "event=between"));
    assert_non_null(strstr(text, "event=after"));
}

/* The thread that waits for stderr goes on, and nothing is given up. */
static void test_pause_that_is_not_to_be_had(void **state)
{
    (void)state;
    alarm(20);
    catch_in_pipe();
    start();
    uint64_t count = (uint64_t)log_until_stuck();
    assert_false(log_pause());
    assert_true(log_has_thread());
    (void)read_all(count);
    log_text(LOG_INFO, "again", "x");
    log_stop();
    assert_string_equal(after_time(catch_end()), "level=info event=again text=x\n");
    alarm(0);
}

/* Nobody reads until the end: that is for one second only. Last of all tests, as the thread that
 * writes is given up. */
static void test_stop_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct timespec begin, end;
    alarm(20);
    catch_in_pipe();
    start();
    uint64_t count = (uint64_t)log_until_stuck();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    log_stop();
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_in_range(end.tv_sec - begin.tv_sec, 1, 6);
    log_stop();                          /* once is enough */
    log_text(LOG_INFO, "too_late", "x"); /* does not wait either */
    read_all(count + 1);                 /* the thread has not ended, only nobody waited for it */
    catch_end();
    alarm(0);
}

/* --- limiter --- */

static void test_limiter(void **state)
{
    (void)state;
    struct log_limiter limiter = {.per_s = 3};
    catch_in_file();
    unsigned allowed = 0;
    for (unsigned i = 0; i < 1000; i++)
        allowed += log_limiter_allows(&limiter, 5000 + i);
    assert_int_equal(allowed, 3);
    log_limiter_flush(&limiter, 5999); /* the second has not ended: one report for all of it */
    assert_string_equal(read_caught(), "");
    assert_true(log_limiter_allows(&limiter, 6000));
    const char *text = catch_end();
    assert_string_equal(after_time(text), "level=warning event=log_suppressed lines=997\n");

    catch_in_file();
    log_limiter_flush(&limiter, 9000); /* nothing was held back since */
    assert_string_equal(catch_end(), "");
}

static void test_limiter_flush_from_a_tick(void **state)
{
    (void)state;
    struct log_limiter limiter = {.per_s = 1};
    catch_in_file();
    assert_true(log_limiter_allows(&limiter, 0)); /* a virtual clock may begin at 0 */
    assert_false(log_limiter_allows(&limiter, 1));
    assert_false(log_limiter_allows(&limiter, 2));
    log_limiter_flush(&limiter, 1000);
    log_limiter_flush(&limiter, 2000);
    assert_string_equal(after_time(catch_end()), "level=warning event=log_suppressed lines=2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_line, reset),
        cmocka_unit_test_setup(test_json_line, reset),
        cmocka_unit_test_setup(test_format_changes_between_lines, reset),
        cmocka_unit_test_setup(test_escaping, reset),
        cmocka_unit_test_setup(test_not_utf8, reset),
        cmocka_unit_test_setup(test_cut, reset),
        cmocka_unit_test_setup(test_text, reset),
        cmocka_unit_test_setup(test_levels, reset),
        cmocka_unit_test_setup(test_level_that_is_off, reset),
        cmocka_unit_test_setup(test_journal, reset),
        cmocka_unit_test_setup(test_errno_is_kept, reset),
        cmocka_unit_test_setup(test_full_pipe_drops_and_reports, reset),
        cmocka_unit_test_setup(test_full_socket_drops_and_reports, reset),
        cmocka_unit_test_setup(test_non_blocking_socket, reset),
        cmocka_unit_test_setup(test_full_datagram_socket, reset),
        cmocka_unit_test_setup(test_unread_terminal, reset),
        cmocka_unit_test_setup(test_no_reader, reset),
        cmocka_unit_test_setup(test_threads_on_a_full_pipe, reset),
        cmocka_unit_test_setup(test_limiter, reset),
        cmocka_unit_test_setup(test_limiter_flush_from_a_tick, reset),
        cmocka_unit_test_setup(test_pause, reset),
        cmocka_unit_test_setup(test_pause_that_is_not_to_be_had, reset),
        cmocka_unit_test_setup(test_stop_does_not_wait_for_ever, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
