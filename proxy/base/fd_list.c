#include "base/fd_list.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool fd_list_is_name(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
            return false;
    }
    return len > 0 && len < FD_NAME_MAX;
}

bool fd_list_add(struct fd_list *list, const char *name, int fd, struct err *err)
{
    if (!fd_list_is_name(name))
        return err_set(err, "%.100s cannot be the name of a descriptor", name);
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        struct named_fd *items = realloc(list->items, capacity * sizeof(*items));
        if (items == NULL)
            return err_set_passing(err, "out of memory for %u descriptors", capacity);
        list->items = items;
        list->capacity = capacity;
    }
    struct named_fd *item = &list->items[list->count++];
    item->fd = fd;
    memcpy(item->name, name, strlen(name) + 1);
    return true;
}

struct named_fd *fd_list_find(const struct fd_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    }
    return NULL;
}

void fd_list_remove(struct fd_list *list, struct named_fd *item)
{
    uint32_t behind = list->count - (uint32_t)(item - list->items) - 1;
    memmove(item, item + 1, behind * sizeof(*item));
    list->count--;
}

bool fd_list_is_same_file(int a, int b)
{
    struct stat of_a, of_b;
    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

void fd_list_close(struct fd_list *list)
{
    while (list->count > 0)
        close(list->items[--list->count].fd);
    fd_list_free(list);
}

void fd_list_free(struct fd_list *list)
{
    free(list->items);
    *list = (struct fd_list){0};
}
