/* A process that descriptors are handed over to, for tests. */
#ifndef HANDOVER_CHILD_H
#define HANDOVER_CHILD_H

#include <sys/types.h>

/* A descriptor of a file in memory with that text; the caller's. */
int handover_child_memory(const char *text);

/* What `run` says on stdout, in a child that ends when it returns. Good until the next call. */
char *handover_child_output(void (*run)(void *), void *context);

/* Sets the environment of sd_listen_fds(3), meant for that process. */
void handover_child_listen(const char *fds, const char *names, pid_t pid);

#endif
