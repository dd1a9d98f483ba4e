#include "fakes/caught_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

void caught_log_begin(struct caught_log *log)
{
    log_set_level(LOG_INFO);
    log->fd = memfd_create("stderr", MFD_CLOEXEC);
    log->saved_stderr = dup(STDERR_FILENO);
    assert_true(log->fd >= 0 && log->saved_stderr >= 0);
    assert_int_equal(dup2(log->fd, STDERR_FILENO), STDERR_FILENO);
}

void caught_log_end(struct caught_log *log)
{
    dup2(log->saved_stderr, STDERR_FILENO);
    close(log->saved_stderr);
    close(log->fd);
}

const char *caught_log_text(struct caught_log *log)
{
    ssize_t len = pread(log->fd, log->text, sizeof(log->text) - 1, 0);
    assert_true(len >= 0);
    log->text[len] = '\0';
    assert_int_equal(ftruncate(log->fd, 0), 0);
    assert_true(lseek(log->fd, 0, SEEK_SET) == 0);
    return log->text;
}

const char *caught_log_line(struct caught_log *log)
{
    const char *text = caught_log_text(log);
    assert_true(strncmp(text, "time=", 5) == 0);
    const char *line = strchr(text, ' ');
    assert_non_null(line);
    char *end = strchr(line, '\n');
    assert_non_null(end);
    assert_string_equal(end, "\n"); /* no second line */
    *end = '\0';
    return line + 1;
}

uint32_t caught_log_count(struct caught_log *log)
{
    uint32_t count = 0;
    for (const char *c = caught_log_text(log); *c != '\0'; c++)
        count += *c == '\n';
    return count;
}
