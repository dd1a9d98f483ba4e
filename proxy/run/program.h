/* The program itself, to be executed again: by an upgrade, and by the keeper. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>

struct program {
    char path[PATH_MAX]; /* "" if nobody can tell */
    char *const *argv;   /* borrowed */
};

/* argv is main's. The path is the one by which it was called, so that a link which leads to another
 * version meanwhile leads there, though a confined gate may execute it only if that one lies in the
 * same folder; or what the kernel says, if it was found by PATH. */
void program_init(struct program *program, char *const *argv);

/* Opens the program that runs, whatever stands at its path by now. -1 if that is not possible; the
 * caller owns the descriptor. */
int program_open_self(void);

#endif
