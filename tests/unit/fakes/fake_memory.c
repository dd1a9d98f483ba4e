#include "fakes/fake_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };

static uint64_t refused_from, refused_to;

static bool is_refused(int fd, uint64_t from, uint64_t to)
{
    if (from < refused_from)
        from = refused_from;
    if (to > refused_to)
        to = refused_to;
    return from < to && (uint64_t)lseek(fd, (off_t)from, SEEK_HOLE) < to;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (mode == 0 && is_refused(fd, (uint64_t)offset, (uint64_t)(offset + len))) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

void fake_memory_refuse(uint64_t from, uint64_t to)
{
    refused_from = from;
    refused_to = to;
}

static bool is_zero(int fd, off_t page)
{
    uint8_t bytes[PAGE_BYTES];
    ssize_t got = pread(fd, bytes, sizeof(bytes), page);
    while (got > 0 && bytes[got - 1] == 0)
        got--;
    return got == 0;
}

void fake_memory_drop_zeros(int fd)
{
    off_t page = 0;
    while ((page = lseek(fd, page, SEEK_DATA)) >= 0) {
        if (is_zero(fd, page))
            (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page, PAGE_BYTES);
        page += PAGE_BYTES;
    }
}
