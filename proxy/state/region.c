#include "state/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/poison.h"
#include "state/layout.h"

static bool map(struct region *region, int protection, struct err *err)
{
    void *base = mmap(NULL, LAYOUT_BYTES, protection, MAP_SHARED | MAP_NORESERVE, region->fd, 0);
    if (base == MAP_FAILED)
        return err_set(err, "%llu MiB of addresses for the state: %s (ulimit -v)",
                       (unsigned long long)(LAYOUT_BYTES / LAYOUT_MIB), strerror(errno));
    region->base = base;
    region->bytes = LAYOUT_BYTES;
    if (madvise(base, LAYOUT_BYTES, MADV_DONTDUMP) == 0 &&
        madvise(base, LAYOUT_BYTES, MADV_DONTFORK) == 0)
        return true;
    return err_set(err, "the state cannot be kept out of core dumps and forks: %s",
                   strerror(errno));
}

/* On a descriptor opened anew: one that is inherited would share the lock with its heir. */
static bool lock(struct region *region, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", region->fd);
    region->lock_fd = open(path, O_RDWR | O_CLOEXEC);
    if (region->lock_fd < 0)
        return err_set(err, "the state cannot be opened anew, to lock it: %s: %s", path,
                       strerror(errno));
    if (flock(region->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return err_set(err, "the state cannot be locked: %s", strerror(errno));
    return err_set_passing(err, "another process has the state; two would use the same record "
                                "numbers twice. It must have ended before");
}

static void give_up(struct region *region)
{
    if (region->base != NULL) {
        POISON_OFF(region->base + LAYOUT_CHUNKS_AT, (size_t)region->chunk_end * LAYOUT_CHUNK_BYTES);
        munmap(region->base, region->bytes);
    }
    if (region->lock_fd >= 0)
        close(region->lock_fd);
    if (region->fd >= 0)
        close(region->fd);
    *region = (struct region){.fd = -1, .lock_fd = -1};
}

void region_close(struct region *region)
{
    if (region->base != NULL)
        give_up(region);
}

static bool open_new(struct region *region, struct err *err)
{
    region->fd = memfd_create("dtlsgate-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (region->fd < 0)
        return err_set(err, "no memory for the state: memfd_create: %s", strerror(errno));
    if (ftruncate(region->fd, (off_t)LAYOUT_BYTES) != 0)
        return err_set(err, "no %llu MiB for the state: %s (ulimit -f)",
                       (unsigned long long)(LAYOUT_BYTES / LAYOUT_MIB), strerror(errno));
    /* Nobody who gets hold of the descriptor can take the memory away under our feet. */
    if (fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return err_set(err, "the size of the state cannot be sealed: %s", strerror(errno));
    return true;
}

/* Of the chunks; so that it can be read, whatever is written there. */
static bool need_directory(struct region *region, struct err *err)
{
    return region_need(region, LAYOUT_DIRECTORY_AT, LAYOUT_CHUNKS_MAX * sizeof(uint32_t)) ||
           err_set(err, "no memory for the state: %s", strerror(errno));
}

bool region_create(struct region *region, struct err *err)
{
    *region = (struct region){.fd = -1, .lock_fd = -1};
    if (open_new(region, err) && lock(region, err) && map(region, PROT_READ | PROT_WRITE, err) &&
        need_directory(region, err))
        return true;
    give_up(region);
    return false;
}

static bool check(int fd, struct err *err)
{
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return err_set(err, "descriptor %d is no state of dtlsgate", fd);
    if (fstat(fd, &info) != 0)
        return err_set(err, "the state cannot be examined: %s", strerror(errno));
    if ((size_t)info.st_size != LAYOUT_BYTES)
        return err_set(err, "the state is %lld bytes, %llu are expected: another version's",
                       (long long)info.st_size, (unsigned long long)LAYOUT_BYTES);
    return true;
}

/* Of somebody else's: it is his again if this fails. */
static bool adopt(struct region *region, int fd, bool is_to_write, struct err *err)
{
    *region = (struct region){.fd = fd, .lock_fd = -1};
    if (check(fd, err) && (!is_to_write || lock(region, err)) &&
        map(region, is_to_write ? PROT_READ | PROT_WRITE : PROT_READ, err) &&
        (!is_to_write || need_directory(region, err))) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return true;
    }
    region->fd = -1;
    give_up(region);
    return false;
}

bool region_adopt(struct region *region, int fd, struct err *err)
{
    return adopt(region, fd, true, err);
}

bool region_map_read_only(struct region *region, int fd, struct err *err)
{
    return adopt(region, fd, false, err);
}

/* Once a process: from then on it may be less, if another limit says so. */
static void note_unlocked(struct region *region, int error)
{
    if (!atomic_exchange(&region->is_unlocked, true))
        log_text(LOG_INFO, "state_not_locked",
                 "keys of sessions may get into swap space: %s (LimitMEMLOCK=infinity in the unit, "
                 "docker run --ulimit memlock=-1; or have no swap)",
                 strerror(error));
}

bool region_need(struct region *region, size_t offset, size_t bytes)
{
    int result;
    do
        result = fallocate(region->fd, 0, (off_t)offset, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        return false;
    if (!atomic_load_explicit(&region->is_unlocked, memory_order_relaxed) &&
        mlock(region->base + offset, bytes) != 0)
        note_unlocked(region, errno);
    return true;
}

void region_give(struct region *region, size_t offset, size_t bytes)
{
    bytes_wipe(region->base + offset, bytes);
    /* Where that fails the memory stays ours, as zeros. */
    (void)!fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)bytes);
}

static size_t next(const struct region *region, size_t offset, int what)
{
    off_t found = lseek(region->fd, (off_t)offset, what);
    return found >= 0 ? (size_t)found : region->bytes;
}

size_t region_next_used(const struct region *region, size_t offset)
{
    return next(region, offset, SEEK_DATA);
}

size_t region_next_unused(const struct region *region, size_t offset)
{
    return next(region, offset, SEEK_HOLE);
}
