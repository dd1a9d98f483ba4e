/* Lines of the exposition format 0.0.4 of Prometheus. */
#ifndef METRICS_LINE_H
#define METRICS_LINE_H

#include <stdint.h>
#include <stdio.h>

/* Before the samples of a name. type: counter, gauge or histogram; help: a whole sentence. */
void metrics_line_family(FILE *out, const char *name, const char *type, const char *help);

/* A sample of one listener begins: name{listener="...". "-" = of none. */
void metrics_line_listener(FILE *out, const char *name, const char *listener);
/* In quotes, with what needs it escaped. */
void metrics_line_label_value(FILE *out, const char *value);

/* A sample ends with its value. */
void metrics_line_u64(FILE *out, uint64_t value);
void metrics_line_thousandths(FILE *out, uint64_t value);

#endif
