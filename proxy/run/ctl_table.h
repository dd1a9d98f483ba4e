/* An answer of a gate as text for people: a table, or a list of what is known. On stdout, problems
 * on stderr. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <jansson.h>
#include <stdbool.h>

#include "run/command.h"

/* Zeroed but for the command. */
struct ctl_table {
    enum command command;
    bool has_header;
};

/* An object of the answer; the last one, of which more than `ok` may be worth showing. */
void ctl_table_add(struct ctl_table *table, const json_t *object);
void ctl_table_end(struct ctl_table *table, const json_t *object);

#endif
