/* Descriptors with names. A name may be there several times. */
#ifndef FD_LIST_H
#define FD_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define FD_NAME_MAX 64 /* bytes, with the NUL */

struct fd_list {
    struct named_fd {
        int fd;
        char name[FD_NAME_MAX];
    } * items;
    uint32_t count, capacity;
};

/* Whether that can be a name: not empty, short enough, printable ASCII without ':' and spaces. */
bool fd_list_is_name(const char *name);

/* The list does not own the descriptor, unless the caller wants it so and closes with
 * fd_list_close(). False with err: out of memory, or no name. */
bool fd_list_add(struct fd_list *list, const char *name, int fd, struct err *err) MUST_USE;

/* The first with that name; NULL if there is none. Good until the list changes. */
struct named_fd *fd_list_find(const struct fd_list *list, const char *name);

/* Takes an item out; those behind it move up. Closes nothing. */
void fd_list_remove(struct fd_list *list, struct named_fd *item);

/* Whether both are one file: the same socket, memory or file on disk. */
bool fd_list_is_same_file(int a, int b);

/* Frees the list, and closes what is in it, from the last one on. */
void fd_list_close(struct fd_list *list);

/* Frees the list only. */
void fd_list_free(struct fd_list *list);

#endif
