/* Items of a list that stands in one setting. Part of config_value.c. */
#ifndef CONFIG_ITEM_H
#define CONFIG_ITEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Takes the next item of a list separated by commas, without the space around it. *rest is NULL
 * after the last one. False if the item does not fit. */
bool config_item_take(const char **rest, char *item, size_t size) MUST_USE;

#endif
