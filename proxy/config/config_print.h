/* From settings back to text: --print-config, and the places that messages name. */
#ifndef CONFIG_PRINT_H
#define CONFIG_PRINT_H

#include <stdio.h>

#include "config/config.h"

/* Writes the effective settings, defaults too, as a file that config_load reads back to the same.
 * A path that no line of such a file can hold is written with a comment that says so. ciphers: the
 * suites that each listener offers, to stand in the place of the setting; NULL: the setting. */
void config_print(const struct config *config, const char *const *ciphers, FILE *out);

/* Where a listener's key stands in the file, as `gate.ini:12: [listener coaps] psk_file = /x`, for
 * messages of later checks (credentials); the line is that of the section if the file leaves the
 * key out. `key` is a name of config.def. Writes into text (of size bytes) and returns it. */
const char *config_where(const struct config *config, const struct listener_config *listener,
                         const char *key, char *text, size_t size);

#endif
