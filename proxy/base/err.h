/* Error texts outside the data path: start-up, reload, control. A function that can fail returns
 * false and writes into `struct err` one text that says where, what, why and what would be right.
 * On the data path `enum outcome` (counters.h) is the error. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

struct err {
    char text[512]; /* cut, never overrun */
    bool may_pass;  /* the same may succeed later, without a change of the settings */
};

/* Both fill err and return false, so that a caller can `return err_set(err, ...)`. */
static inline PRINTF_LIKE(2, 3) bool err_set(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err->may_pass = false;
    return false;
}

static inline PRINTF_LIKE(2, 3) bool err_set_passing(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err->may_pass = true;
    return false;
}

#endif
