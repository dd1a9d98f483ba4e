#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

bool secret_new(struct secret *secret, size_t size)
{
    *secret = (struct secret){0};
    size_t mapped_bytes = whole_pages(size);
    void *map =
        mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    *secret = (struct secret){.bytes = map, .size = size, .mapped_bytes = mapped_bytes};
    if (madvise(map, mapped_bytes, MADV_DONTDUMP) != 0) {
        secret_free(secret);
        return false;
    }
    return true;
}

/* So that no system call takes long, into memory that is touched for the first time. */
enum { READ_AT_ONCE_BYTES = 32 * 1024 };

/* Asks for one byte more than the file had, to see one that grows. */
static bool read_all(int fd, struct secret *secret, struct err *err)
{
    size_t size = 0;
    while (size < secret->size) {
        size_t wanted = secret->size - size;
        ssize_t got = read(fd, secret->bytes + size,
                           wanted < READ_AT_ONCE_BYTES ? wanted : READ_AT_ONCE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, "cannot be read: %s", strerror(errno));
        if (got == 0)
            break;
        size += (size_t)got;
    }
    if (size != secret->size - 1)
        return err_set(err, "changed while it was read; write a new file and rename it into place");
    secret_shrink(secret, size);
    return true;
}

static bool check(const struct stat *info, struct err *err)
{
    if (!S_ISREG(info->st_mode))
        return err_set(err, "is not a regular file");
    if (info->st_size == 0)
        return err_set(err, "is empty");
    if ((size_t)info->st_size >= SECRET_SIZE_MAX)
        return err_set(err, "is %lld bytes; at most 4 GiB can be read", (long long)info->st_size);
    return true;
}

static bool is_own_group(gid_t group)
{
    gid_t groups[256];
    int count = getgroups(256, groups);
    bool is_own = group == getegid();
    for (int i = 0; i < count && !is_own; i++)
        is_own = groups[i] == group;
    return is_own;
}

static bool read_open(struct secret *secret, int fd, uint32_t *wide_mode, struct err *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return err_set(err, "cannot be examined: %s", strerror(errno));
    if (!check(&info, err))
        return false;
    bool is_good =
        (info.st_mode & 077) == 0 || ((info.st_mode & 077) == S_IRGRP && is_own_group(info.st_gid));
    *wide_mode = is_good ? 0 : info.st_mode & 07777;
    if (!secret_new(secret, (size_t)info.st_size + 1))
        return err_set(err, "does not fit into memory (%lld bytes)", (long long)info.st_size);
    if (read_all(fd, secret, err))
        return true;
    secret_free(secret);
    return false;
}

bool secret_read(struct secret *secret, const char *path, uint32_t *wide_mode, struct err *err)
{
    *secret = (struct secret){0};
    /* O_NONBLOCK: a FIFO is refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, "cannot be opened: %s", strerror(errno));
    bool ok = read_open(secret, fd, wide_mode, err);
    close(fd);
    return ok;
}

void secret_shrink(struct secret *secret, size_t size)
{
    if (!secret->bytes || size >= secret->size)
        return;
    bytes_wipe(secret->bytes + size, secret->size - size);
    secret->size = size;
    size_t keep_bytes = whole_pages(size ? size : 1);
    if (keep_bytes < secret->mapped_bytes &&
        munmap(secret->bytes + keep_bytes, secret->mapped_bytes - keep_bytes) == 0)
        secret->mapped_bytes = keep_bytes;
}

void secret_free(struct secret *secret)
{
    if (!secret->bytes)
        return;
    bytes_wipe(secret->bytes, secret->size);
    munmap(secret->bytes, secret->mapped_bytes);
    *secret = (struct secret){0};
}
