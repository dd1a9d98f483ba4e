/* What /history tells: the last hour, as JSON. */
#ifndef HISTORY_JSON_H
#define HISTORY_JSON_H

#include <jansson.h>

#include "run/history.h"

/* A new object, the caller's; NULL: out of memory. Series of which nothing was ever counted are
 * left out. Any thread. */
json_t *history_json(struct history *history, const struct generation *generation, uint64_t now_ms);

/* Adds to the object of a listener how its backend does. NULL history: nothing. */
void history_json_set_backend(json_t **object, struct history *history, uint32_t number,
                              uint64_t now_ms);

#endif
