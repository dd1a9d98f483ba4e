/* Everything that runs, and the order of its start and stop: settings, sockets, workers, metrics,
 * signals. The main thread. */
#ifndef GATE_H
#define GATE_H

/* Runs a gate with the settings of that file, until it is told to end. Returns the exit status. */
int gate_run(const char *config_path);

#endif
