/* Everything that runs, and the order of its start and stop: settings, sockets, workers, metrics,
 * signals. The main thread. */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>

#include "run/program.h"

/* Runs a gate with the settings of that file, until it is told to end. Returns the exit status.
 * program: what runs, to be kept for the case that another version fails. wants_store: the service
 * manager keeps descriptors though the environment does not say so. */
int gate_run(const char *config_path, const struct program *program, bool wants_store);

#endif
