/* What messages say about values: what people write in the place of one, and what would be right.
 */
#ifndef CONFIG_EXPLAIN_H
#define CONFIG_EXPLAIN_H

#include <stdbool.h>

#include "base/err.h"

/* A value as messages repeat it: whole, unless it is so long that nobody would see the reason. */
struct config_shown {
    char text[208];
};
struct config_shown config_explain_show(const char *value);

/* Why a person hardly means this value, of whatever kind, or what a comment sign in it would do
 * when it is read again, to stand behind "the value"; NULL if nothing is odd. */
const char *config_explain_oddity(const char *value);

/* False, with err, if this is a well-known mistake; true says nothing of the rest. `example` is an
 * address that would be right; is_list: the setting takes several, and `text` is one of them. */
bool config_explain_addr(const char *text, const char *example, bool is_list,
                         struct err *err) MUST_USE;
/* The same of a path. */
bool config_explain_path(const char *text, bool is_list, struct err *err) MUST_USE;

#endif
