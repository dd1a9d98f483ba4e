/* Reads the settings from an INI file, and checks them. Reads no credential file: that is creds.c.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include <stdio.h>

#include "base/problems.h"
#include "config/config.h"

/* Where it is, if nobody says something else. */
#define CONFIG_PATH "/etc/dtlsgate/dtlsgate.ini"

/* Reads the file, defaults filled in. All problems are reported, not only the first; NULL if there
 * was an error (warnings do not count). The caller owns the result. */
struct config *config_load(const char *path, struct problems *problems) MUST_USE;

/* As config_load, but what could be read is returned in spite of errors, with defaults in the place
 * of bad values, so that later checks can add theirs. If there was an error, not for a gate. */
struct config *config_load_partly(const char *path, struct problems *problems) MUST_USE;

/* As config_load, from an open stream that stays the caller's. `path` is what messages call it, and
 * its folder is where relative paths begin. */
struct config *config_load_stream(FILE *in, const char *path, struct problems *problems) MUST_USE;

/* NULL is harmless. */
void config_free(struct config *config);

#endif
