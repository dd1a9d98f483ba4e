/* Collects everything that is wrong with a file, so that one run reports it all. Texts stand in
 * the order found and look like
 * `gate.ini:12: [listener coaps] mtu = 99999: ...why...; ...what would be right`.
 *
 * An error is either for a person, who must change the settings, or one that may pass: at another
 * time the same settings may do. */
#ifndef BASE_PROBLEMS_H
#define BASE_PROBLEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes of a text, with its NUL; longer ones are cut. */
#define PROBLEM_TEXT_MAX 2048

struct problems {
    char **texts; /* owned */
    bool *is_warning;
    uint32_t count, capacity;
    uint32_t error_count;   /* also counts an error whose text could not be kept: out of memory */
    uint32_t lasting_count; /* those of them that need a person */
};

void problems_init(struct problems *problems);
void problems_deinit(struct problems *problems);
/* An error that needs a person. */
void problems_error(struct problems *problems, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* An error that may pass. */
void problems_passing(struct problems *problems, const char *fmt, ...) PRINTF_LIKE(2, 3);
void problems_warning(struct problems *problems, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* An error of the kind that err says. */
void problems_error_of(struct problems *problems, const struct err *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
