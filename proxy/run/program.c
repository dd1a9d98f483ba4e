#include "run/program.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the kernel appends when the file has been replaced. */
static const char DELETED[] = " (deleted)";

static void ask_kernel(char path[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = '\0';
    size_t mark = sizeof(DELETED) - 1;
    if (len > (ssize_t)mark && strcmp(path + len - mark, DELETED) == 0)
        path[len - (ssize_t)mark] = '\0';
}

void program_init(struct program *program, char *const *argv)
{
    program->argv = argv;
    if (argv[0] != NULL && strchr(argv[0], '/') != NULL && strlen(argv[0]) < PATH_MAX)
        snprintf(program->path, sizeof(program->path), "%s", argv[0]);
    else
        ask_kernel(program->path);
}

int program_open_self(void)
{
    return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}
