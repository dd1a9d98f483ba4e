/* Confines the calling thread, and all threads and programs that it starts from then on, to places
 * of the file system: by Landlock. */
#ifndef SANDBOX_FILES_H
#define SANDBOX_FILES_H

#include "base/err.h"
#include "run/sandbox_paths.h"

/* The version of Landlock's interface that the kernel has; 0 with err: it has none, or it is off.
 */
int sandbox_files_version(struct err *err);

/* program: a descriptor of the program that runs, which may be executed again though its file has
 * gone; -1 = none. No more TCP connections to others either, and no signals, where the kernel can
 * refuse them. False with err: nothing is confined. */
bool sandbox_files_confine(const struct sandbox_paths *paths, int program,
                           struct err *err) MUST_USE;

#endif
