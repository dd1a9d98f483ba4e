/* Values that are strings: texts, paths, lists of paths. Part of config_value.c. */
#ifndef CONFIG_PATHS_H
#define CONFIG_PATHS_H

#include <stddef.h>

#include "config/config.h"

/* Each frees what the member had; on failure the member is as before. Relative paths begin at the
 * folder. */
bool config_string_parse(const char *text, config_string *member, struct err *err) MUST_USE;
bool config_path_parse(const char *text, const char *folder, config_string *member,
                       struct err *err) MUST_USE;
bool config_paths_parse(const char *text, const char *folder, struct config_paths *member,
                        struct err *err) MUST_USE;

void config_paths_format(const struct config_paths *paths, char *text, size_t size);

void config_string_free(config_string *member);
void config_paths_free(struct config_paths *paths);

#endif
