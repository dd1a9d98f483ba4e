/* A service manager for one gate, where there is none that keeps descriptors: in a container. It
 * starts the gate, keeps what the gate hands it (FDSTORE=1: sockets, and the memory with all
 * sessions, which it never looks into), starts it again when it dies, and passes signals on. As
 * process 1 of a container it reaps all others. One thread, and nothing in it but that: what does
 * not crash keeps the rest. */
#ifndef KEEPER_H
#define KEEPER_H

#include "run/program.h"

/* Runs until the gate has ended by itself in good order, or because we were told to end (SIGTERM,
 * SIGINT). Returns the exit status of the gate; 128 and the signal if one ended it. */
int keeper_run(const struct program *program);

/* The word on the command line; the gate is started with the same words but this one. */
#define KEEPER_OPTION "--keeper"

/* In the environment of a gate whose store does not outlive a stop in good order. */
#define KEEPER_VARIABLE "DTLSGATE_KEEPER"

#endif
