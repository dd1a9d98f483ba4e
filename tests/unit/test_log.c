#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

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
    return 0;
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

static void test_escaping(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t size;
        const char *written;
    } cases[] = {
        {"plain-1.2/[::1]:5684", 20, "plain-1.2/[::1]:5684"},
        {"", 0, "\"\""},
        {"a b", 3, "\"a b\""},
        {"a=b", 3, "\"a=b\""},
        {"say \"x\"", 7, "\"say \\\"x\\\"\""},
        {"back\\slash", 10, "\"back\\\\slash\""},
        {"x\nlevel=error", 13, "\"x\\x0alevel=error\""},
        {"\0\r\t\x1b\x7f\x80\xff", 7, "\"\\x00\\x0d\\x09\\x1b\\x7f\\x80\\xff\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct log_line line;
        char wanted[200];
        snprintf(wanted, sizeof(wanted), "level=error event=e v=%s after=1\n", cases[i].written);
        catch_in_file();
        log_begin(&line, LOG_ERROR, "e");
        log_add_bytes(&line, "v", cases[i].value, cases[i].size);
        log_add(&line, "after", "1");
        log_end(&line);
        assert_string_equal(after_time(catch_end()), wanted);
    }
}

/* Values of every length around the size of a line, plain and quoted: whole or marked as cut,
 * always one well-formed line. */
static void test_cut(void **state)
{
    (void)state;
    static const char fillers[] = {'x', ' ', '\n'};
    unsigned whole = 0, cut = 0;
    for (size_t f = 0; f < sizeof(fillers); f++) {
        for (size_t size = 150; size < 1100; size++) {
            struct log_line line;
            char value[1100];
            memset(value, fillers[f], size);
            catch_in_file();
            log_begin(&line, LOG_INFO, "e");
            log_add_bytes(&line, "v", value, size);
            log_add(&line, "short", "1");
            log_add(&line, "quoted", "a b");
            log_end(&line);
            const char *text = catch_end();
            size_t length = strlen(text);
            assert_true(length <= sizeof(line.text));
            assert_int_equal(count_lines(text), 1);
            assert_int_equal(text[length - 1], '\n');
            if (strstr(text, " cut=true\n") != NULL) {
                cut++;
                assert_true(length > sizeof(line.text) - 40); /* not cut without need */
            } else {
                whole++;
                assert_non_null(strstr(text, " short=1 quoted=\"a b\"\n"));
            }
            if (fillers[f] != 'x')
                assert_int_equal(count_matches(text, "\"") % 2, 0);
        }
    }
    assert_true(whole > 500 && cut > 500);
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
        const char *text = catch_end();
        assert_int_equal(count_lines(text), set + 1);
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            char wanted[64];
            snprintf(wanted, sizeof(wanted), "level=%s event=%s ", names[level], names[level]);
            assert_int_equal(strstr(text, wanted) != NULL, level <= set);
        }
    }
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

static void log_until_dropped(void)
{
    uint64_t before = log_dropped_lines();
    for (int i = 0; i < 100000 && log_dropped_lines() == before; i++)
        log_text(LOG_INFO, "filler", "number %d, some more text to make the line longer", i);
    assert_true(log_dropped_lines() > before);
}

static void test_full_pipe_drops_and_reports(void **state)
{
    (void)state;
    alarm(20); /* a log that waits for the reader would hang here for ever */
    catch_in_pipe();
    log_until_dropped();
    uint64_t before = log_dropped_lines();
    for (int i = 0; i < 41; i++)
        log_text(LOG_INFO, "lost", "x");
    assert_int_equal(log_dropped_lines(), before + 41);
    const char *text = read_caught(); /* the reader catches up */
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_null(strstr(text, "event=lost"));
    assert_null(strstr(text, "log_dropped"));
    log_text(LOG_INFO, "again", "x");
    log_text(LOG_INFO, "again", "x");
    text = catch_end();
    alarm(0);
    assert_int_equal(count_lines(text), 3);
    assert_true(strncmp(after_time(text), "level=error event=log_dropped lines=42\n", 38) == 0);
    assert_int_equal(count_matches(text, "event=again"), 2);
}

/* A socket (as under a service manager) set to non-blocking by whoever gave it to us. */
static void test_full_socket_drops_and_reports(void **state)
{
    (void)state;
    int fds[2];
    alarm(20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    catch_into(fds[1], fds[0]);
    log_until_dropped();
    char *before = strdup(read_caught());
    assert_non_null(before);
    log_text(LOG_INFO, "again", "x");
    const char *text = catch_end();
    alarm(0);
    assert_non_null(strstr(text, "event=log_dropped lines="));
    assert_non_null(strstr(text, "event=again text=x\n"));
    /* Every line is whole or, at most once, ended by the newline before the report. */
    char *all;
    assert_true(asprintf(&all, "%s%s", before, text) > 0);
    for (const char *line = all; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(strncmp(line, "time=", 5) == 0 || *line == '\n');
    free(all);
    free(before);
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

/* Into a pipe that is never read, from several threads: none may block on the last free room. */
static void test_threads_on_a_full_pipe(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    uint64_t before = log_dropped_lines();
    alarm(60);
    catch_in_pipe();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    const char *text = read_caught();
    unsigned written = count_lines(text);
    assert_true(written > 0);
    assert_int_equal(written + log_dropped_lines() - before, THREADS * LINES_EACH / 2);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *value = strstr(line, " event=thread value=");
        assert_non_null(value);
        value += strlen(" event=thread value=");
        assert_int_equal(strspn(value, (char[]){value[0], '\0'}), 300);
        assert_int_equal(value[300], '\n');
    }
    log_text(LOG_INFO, "again", "x");
    assert_non_null(strstr(catch_end(), "event=log_dropped lines="));
    alarm(0);
}

/* --- limiter --- */

/* A pipe that others write to as well is made ours without becoming non-blocking for them. */
static void test_own_stderr(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int shared = dup(fds[1]);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    catch_into(fds[1], fds[0]);
    log_own_stderr();
    int own_flags = fcntl(STDERR_FILENO, F_GETFL);
    log_text(LOG_INFO, "own", "there");
    const char *text = catch_end();
    assert_true((own_flags & O_NONBLOCK) != 0);
    assert_int_equal(fcntl(shared, F_GETFL) & O_NONBLOCK, 0);
    assert_non_null(strstr(text, "event=own"));
    close(shared);
}

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
        cmocka_unit_test_setup(test_escaping, reset),
        cmocka_unit_test_setup(test_cut, reset),
        cmocka_unit_test_setup(test_text, reset),
        cmocka_unit_test_setup(test_levels, reset),
        cmocka_unit_test_setup(test_errno_is_kept, reset),
        cmocka_unit_test_setup(test_full_pipe_drops_and_reports, reset),
        cmocka_unit_test_setup(test_full_socket_drops_and_reports, reset),
        cmocka_unit_test_setup(test_threads_on_a_full_pipe, reset),
        cmocka_unit_test_setup(test_own_stderr, reset),
        cmocka_unit_test_setup(test_limiter, reset),
        cmocka_unit_test_setup(test_limiter_flush_from_a_tick, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
