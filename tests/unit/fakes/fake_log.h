/* Takes the place of base/log.c: lines are kept in memory instead of being written, at every level
 * and without limit, so that a test can ask what an operator would have read. */
#ifndef FAKE_LOG_H
#define FAKE_LOG_H

#include <stdint.h>

#include "base/log.h"

void fake_log_reset(void);

/* How many lines have all of these parts; NULL ends them. A value with spaces stands in it as it
 * is, without quotes. */
uint32_t fake_log_count(const char *part, ...) __attribute__((sentinel));
/* The same of the lines since the last call with this mark, which begins as 0: for who asks often.
 */
uint32_t fake_log_count_new(uint32_t *mark, const char *part, ...) __attribute__((sentinel));

/* Hears each line from now on; NULL = nobody. */
void fake_log_set_listener(void (*on_line)(void *context, const char *line), void *context);

/* Writes the last lines to stderr, to explain a failure. */
void fake_log_print(void);

#endif
