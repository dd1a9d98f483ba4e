#include "base/problems.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void problems_init(struct problems *problems)
{
    *problems = (struct problems){0};
}

void problems_deinit(struct problems *problems)
{
    for (uint32_t i = 0; i < problems->count; i++)
        free(problems->texts[i]);
    free(problems->texts);
    free(problems->is_warning);
    *problems = (struct problems){0};
}

static bool make_room(struct problems *problems)
{
    if (problems->count < problems->capacity)
        return true;
    uint32_t capacity = problems->capacity ? problems->capacity * 2 : 16;
    char **texts = realloc(problems->texts, capacity * sizeof(*texts));
    if (!texts)
        return false;
    problems->texts = texts;
    bool *is_warning = realloc(problems->is_warning, capacity * sizeof(*is_warning));
    if (!is_warning)
        return false;
    problems->is_warning = is_warning;
    problems->capacity = capacity;
    return true;
}

static void PRINTF_LIKE(3, 0)
    add(struct problems *problems, bool is_warning, const char *fmt, va_list args)
{
    char text[PROBLEM_TEXT_MAX];
    vsnprintf(text, sizeof(text), fmt, args);

    char *copy = strdup(text);
    if (!copy || !make_room(problems)) {
        free(copy);
        return;
    }
    problems->texts[problems->count] = copy;
    problems->is_warning[problems->count] = is_warning;
    problems->count++;
}

void problems_error(struct problems *problems, const char *fmt, ...)
{
    problems->error_count++;
    problems->lasting_count++;
    va_list args;
    va_start(args, fmt);
    add(problems, false, fmt, args);
    va_end(args);
}

void problems_passing(struct problems *problems, const char *fmt, ...)
{
    problems->error_count++;
    va_list args;
    va_start(args, fmt);
    add(problems, false, fmt, args);
    va_end(args);
}

void problems_error_of(struct problems *problems, const struct err *err, const char *fmt, ...)
{
    problems->error_count++;
    problems->lasting_count += !err->may_pass;
    va_list args;
    va_start(args, fmt);
    add(problems, false, fmt, args);
    va_end(args);
}

void problems_warning(struct problems *problems, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(problems, true, fmt, args);
    va_end(args);
}
