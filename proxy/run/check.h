/* --check-config and --print-config, and what the program ends with. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

#include "base/problems.h"

enum {
    EXIT_RUN_TIME = 1, /* the same may do at another time */
    EXIT_USAGE = 2,    /* somebody must change the settings or the command line */
};

/* The exit status for settings with these errors; 0 if there is none. */
int check_status(const struct problems *problems);

/* Builds everything that the settings at `path` ask for, as a start would, but opens no socket, and
 * says on stderr and stdout what came of it. as_user: becomes that user before, for good; NULL =
 * stays who it is. Returns the exit status. */
int check_run(const char *path, const char *as_user, bool is_print);

#endif
