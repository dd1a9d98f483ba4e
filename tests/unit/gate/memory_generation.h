/* A generation of settings and credentials made in memory: no folder, no other program, the same in
 * each run. For tests and fuzz targets that need a listener but are not about its files. */
#ifndef MEMORY_GENERATION_H
#define MEMORY_GENERATION_H

#include "creds/generation.h"

/* Builds it from the text of a configuration file, in which @psk (client_kinds.h's, alone),
 * @certificate and @key stand for files. Ends the program if that fails. The library must have been
 * initialized; the caller gives the result back with reload_release(). */
struct generation *memory_generation(const char *ini);

#endif
