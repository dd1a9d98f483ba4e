#include "fakes/fake_log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_PRINTED = 12 };

static char **lines;
static uint32_t line_count, line_capacity;
static void (*listener)(void *context, const char *line);
static void *listener_context;
static enum log_level level_in_force = LOG_DEBUG;

void fake_log_reset(void)
{
    level_in_force = LOG_DEBUG;
    for (uint32_t i = 0; i < line_count; i++)
        free(lines[i]);
    free(lines);
    lines = NULL;
    line_count = line_capacity = 0;
}

static uint32_t count_from(uint32_t first, const char *part, va_list parts)
{
    uint32_t count = 0;
    for (uint32_t i = first; i < line_count; i++) {
        bool has_all = true;
        va_list others;
        va_copy(others, parts);
        for (const char *p = part; p != NULL && has_all; p = va_arg(others, const char *))
            has_all = strstr(lines[i], p) != NULL;
        va_end(others);
        count += has_all;
    }
    return count;
}

uint32_t fake_log_count(const char *part, ...)
{
    va_list parts;
    va_start(parts, part);
    uint32_t count = count_from(0, part, parts);
    va_end(parts);
    return count;
}

uint32_t fake_log_count_new(uint32_t *mark, const char *part, ...)
{
    va_list parts;
    va_start(parts, part);
    uint32_t count = count_from(*mark <= line_count ? *mark : 0, part, parts);
    va_end(parts);
    *mark = line_count;
    return count;
}

void fake_log_set_listener(void (*on_line)(void *context, const char *line), void *context)
{
    listener = on_line;
    listener_context = context;
}

void fake_log_print(void)
{
    uint32_t first = line_count > LINES_PRINTED ? line_count - LINES_PRINTED : 0;
    for (uint32_t i = first; i < line_count; i++)
        fprintf(stderr, "  log: %s\n", lines[i]);
}

/* ---- what base/log.h declares --------------------------------------------------------------- */

bool log_start(struct err *err)
{
    (void)err;
    return true; /* there is no thread */
}

void log_stop(void)
{
}

bool log_pause(void)
{
    return true;
}

bool log_has_thread(void)
{
    return false;
}

void log_set_level(enum log_level wanted)
{
    level_in_force = wanted;
}

void log_set_format(enum log_format format)
{
    (void)format;
}

bool log_is_enabled(enum log_level asked)
{
    return asked <= level_in_force;
}

uint64_t log_dropped_lines(void)
{
    return 0;
}

static void append(struct log_line *line, const char *key, const char *value, int size)
{
    size_t room = sizeof(line->text) - line->len;
    int written = snprintf(line->text + line->len, room, "%s%s=%.*s", line->len > 0 ? " " : "", key,
                           size, value);
    assert(written >= 0 && (size_t)written < room);
    line->len += (size_t)written;
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    line->len = 0;
    log_add(line, "level", names[level]);
    log_add(line, "event", event);
}

void log_begin_always(struct log_line *line, enum log_level level, const char *event)
{
    log_begin(line, level, event);
}

void log_add(struct log_line *line, const char *key, const char *value)
{
    append(line, key, value, (int)strlen(value));
}

void log_add_bytes(struct log_line *line, const char *key, const void *value, size_t size)
{
    append(line, key, value, (int)size);
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

void log_end(struct log_line *line)
{
    if (line_count == line_capacity) {
        line_capacity = line_capacity == 0 ? 64 : line_capacity * 2;
        lines = realloc(lines, line_capacity * sizeof(*lines));
        assert(lines != NULL);
    }
    lines[line_count] = strdup(line->text);
    assert(lines[line_count] != NULL);
    line_count++;
    if (listener != NULL)
        listener(listener_context, line->text);
}

void log_text(enum log_level level, const char *event, const char *fmt, ...)
{
    struct log_line line;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log_begin(&line, level, event);
    log_add(&line, "text", text);
    log_end(&line);
}

bool log_limiter_allows(struct log_limiter *limiter, uint64_t now_ms)
{
    (void)limiter;
    (void)now_ms;
    return true;
}

void log_limiter_flush(struct log_limiter *limiter, uint64_t now_ms)
{
    (void)limiter;
    (void)now_ms;
}
