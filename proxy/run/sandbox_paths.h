/* The places of the file system that a confined gate can still use, and what it may do there: made
 * from the settings, and passed on as text to the program that an upgrade executes, which cannot
 * have more. Main thread. */
#ifndef SANDBOX_PATHS_H
#define SANDBOX_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problems.h"
#include "config/config.h"

/* Bits: what may be done at a place and below it. */
enum {
    SANDBOX_READ = 1,
    SANDBOX_EXECUTE = 2,
    SANDBOX_KEEP = 4,   /* write, make, rename and remove files */
    SANDBOX_SOCKET = 8, /* make and remove sockets */
};

struct sandbox_place {
    char *path; /* owned; absolute, without links */
    unsigned may;
};

/* Zeroed = none. Freed by sandbox_paths_free(). */
struct sandbox_paths {
    struct sandbox_place *at;
    uint32_t count;
    bool is_incomplete; /* out of memory */
};

/* The folders of all files that the settings name, since new files are renamed into place; those of
 * the program, of libraries, and of what the system tells about itself. program: its path; "" if it
 * is not known. */
void sandbox_paths_of_settings(struct sandbox_paths *paths, const struct config *config,
                               const char *program);

/* A line for each. NULL: out of memory; the caller frees it. */
char *sandbox_paths_text(const struct sandbox_paths *paths);
void sandbox_paths_parse(struct sandbox_paths *paths, const char *text);

/* Takes out what is not within `outer`: nobody can be given it back. */
void sandbox_paths_limit(struct sandbox_paths *paths, const struct sandbox_paths *outer);

/* Reports an error for each file or folder of the settings that is not within them. */
void sandbox_paths_check(const struct sandbox_paths *paths, const struct config *config,
                         struct problems *problems);

void sandbox_paths_free(struct sandbox_paths *paths);

#endif
