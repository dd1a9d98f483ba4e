/* What no single value shows: settings that are missing or contradict each other. Part of
 * config_load.c. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "base/problems.h"
#include "config/config.h"

/* `rejected[i]` has the bit 1 << LISTENER_x for each setting of config->listeners[i] whose value
 * could not be read: nothing is concluded from those. */
void config_check(const struct config *config, const uint64_t *rejected, struct problems *problems);

#endif
