#include "run/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run/state_seal.h"
#include "state/region.h"

/* A gate that has just written holds the lock until the folder is synced. */
enum { LOCK_PAUSES = 40, LOCK_PAUSE_MS = 50 };

/* Of a file that is being written. */
#define SUFFIX ".new"

/* A path as the folder, open, and the name in it. All is done in this folder, whatever becomes of
 * its path meanwhile. */
struct place {
    int folder;
    const char *name; /* within the path */
};

/* False: errno says why, and err. */
static bool open_place(struct place *place, const char *path, struct err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    place->folder = -1;
    place->name = slash != NULL ? slash + 1 : path;
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (len >= sizeof(folder) || strlen(place->name) + sizeof(SUFFIX) > NAME_MAX) {
        errno = ENAMETOOLONG;
        return err_set(err, "its path is too long");
    }
    snprintf(folder, sizeof(folder), "%.*s", (int)len, path);
    place->folder = open(len > 0 ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    if (place->folder < 0)
        err_set(err, "its folder %.200s cannot be opened: %s", folder, strerror(error));
    errno = error;
    return place->folder >= 0;
}

static bool is_writable(const struct place *place, struct err *err)
{
    return faccessat(place->folder, ".", W_OK | X_OK, AT_EACCESS) == 0 ||
           err_set(err, "nothing can be written to its folder, or removed from it: %s",
                   strerror(errno));
}

/* Waits for somebody else's lock, for as many pauses. */
static bool lock(int fd, int pauses, struct err *err)
{
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return err_set(err, "it cannot be locked: %s; put it on a local file system",
                           strerror(errno));
        if (pauses-- == 0)
            return err_set_passing(err, "another gate is reading or writing it");
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_MS * 1000000L}, NULL);
    }
    return true;
}

/* Somebody who had the lock before may have taken the file away. */
static bool is_in_place(const struct place *place, const char *name, int fd, struct err *err)
{
    struct stat opened, now;
    return (fstat(fd, &opened) == 0 &&
            fstatat(place->folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
            now.st_ino == opened.st_ino) ||
           err_set_passing(err, "another gate has taken it at the same time");
}

/* Nothing of somebody else's is overwritten or removed because a path is wrong. */
static bool is_ours_or_empty(int fd, struct err *err)
{
    struct stat info;
    return (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
            (info.st_size == 0 || state_seal_is_one(fd))) ||
           err_set(err, "there is a file that is no state file of dtlsgate");
}

/* What stands there already would be in the way, if it is somebody else's. */
static bool is_free(const struct place *place, struct err *err)
{
    int fd = openat(place->folder, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ||
               err_set(err, "what is there cannot be opened: %s", strerror(errno));
    bool is_good = is_ours_or_empty(fd, err);
    close(fd);
    return is_good;
}

bool state_file_check(const char *path, struct err *err)
{
    struct place place;
    if (!open_place(&place, path, err))
        return false;
    bool is_good = is_writable(&place, err) && is_free(&place, err);
    close(place.folder);
    return is_good;
}

/* Opens a file of ours and locks it. -1: errno is ENOENT if there is none; err says why. */
static int open_locked(const struct place *place, const char *name, int flags, int pauses,
                       struct err *err)
{
    int fd = openat(place->folder, name,
                    flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    int error = errno;
    if (fd < 0) {
        err_set(err, "it cannot be opened: %s", strerror(error));
        errno = error;
        return -1;
    }
    if (lock(fd, pauses, err) && is_in_place(place, name, fd, err) && is_ours_or_empty(fd, err))
        return fd;
    close(fd);
    errno = EBUSY;
    return -1;
}

static bool sync_folder(const struct place *place, struct err *err)
{
    return fsync(place->folder) == 0 ||
           err_set(err, "its folder cannot be synced: %s", strerror(errno));
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool is_usable(const struct state_file *file, const struct state_facts *facts,
                      struct state_taken *taken, struct err *err)
{
    int64_t age_ms = state_host_age_ms(&facts->host, &file->host);
    if (facts->layout != file->layout)
        return err_set(err, "its layout is %u, this version reads layout %u", facts->layout,
                       file->layout);
    if (age_ms < 0)
        return err_set(err, "it is from the future by %lld s: one of two clocks was set wrong",
                       (long long)-age_ms / 1000);
    if ((uint64_t)age_ms > file->max_age_ms)
        return err_set(err, "it is %lld s old, state_max_age is %llu s", (long long)age_ms / 1000,
                       (unsigned long long)file->max_age_ms / 1000);
    taken->age_ms = (uint64_t)age_ms;
    taken->gate_ms = facts->gate_ms;
    taken->is_same_boot = state_host_is_same_boot(&facts->host, &file->host);
    taken->is_same_machine = state_host_is_same_machine(&facts->host, &file->host);
    return true;
}

/* Into a new region, whose descriptor it returns, or -1. */
static int read_memory(struct state_seal *seal, const struct state_facts *facts, struct err *err)
{
    struct region region;
    int memory = -1;
    if (!region_create(&region, err))
        return -1;
    if (facts->memory_bytes != region.bytes)
        err_set(err, "its state is %llu bytes, this version's is %zu",
                (unsigned long long)facts->memory_bytes, region.bytes);
    else if (state_seal_read(seal, region.fd, err)) {
        memory = fcntl(region.fd, F_DUPFD_CLOEXEC, 3);
        if (memory < 0)
            err_set_passing(err, "no descriptor is free: %s", strerror(errno));
    }
    region_close(&region);
    return memory;
}

/* From here on the file is of no use to anybody. */
static bool use_up(const struct place *place, int fd, struct err *err)
{
    struct err why;
    if (!is_writable(place, err) || !state_seal_mark(fd, err))
        return false;
    if (unlinkat(place->folder, place->name, 0) != 0)
        return err_set(err,
                       "it is marked as read, but cannot be removed: %s; nobody can use it any "
                       "more",
                       strerror(errno));
    return sync_folder(place, &why) ||
           err_set(err, "it is marked as read and removed, but %.200s", why.text);
}

static enum state_file_found take_open(const struct state_file *file, const struct place *place,
                                       int fd, struct state_taken *taken, struct err *err)
{
    struct state_seal *seal;
    struct state_facts facts;
    struct stat info;
    enum state_seal_verdict verdict = state_seal_open(&seal, fd, file->key, &facts, err);
    if (verdict == STATE_SEAL_USED && unlinkat(place->folder, place->name, 0) == 0)
        (void)!fsync(place->folder);
    if (verdict != STATE_SEAL_GOOD)
        return STATE_FILE_REFUSED;
    taken->memory = is_usable(file, &facts, taken, err) ? read_memory(seal, &facts, err) : -1;
    taken->file_bytes = fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
    state_seal_free(seal);
    if (taken->memory < 0)
        return STATE_FILE_REFUSED;
    if (use_up(place, fd, err))
        return STATE_FILE_TAKEN;
    close(taken->memory);
    taken->memory = -1;
    return STATE_FILE_REFUSED;
}

enum state_file_found state_file_take(const struct state_file *file, struct state_taken *taken,
                                      struct err *err)
{
    struct place place;
    *taken = (struct state_taken){.memory = -1};
    if (!open_place(&place, file->path, err))
        return STATE_FILE_REFUSED;
    enum state_file_found found = STATE_FILE_REFUSED;
    int fd = open_locked(&place, place.name, 0, LOCK_PAUSES, err);
    if (fd >= 0) {
        found = take_open(file, &place, fd, taken, err);
        close(fd);
    } else if (errno == ENOENT) {
        found = STATE_FILE_NONE;
    }
    close(place.folder);
    return found;
}

/* Removed or marked: either will do. */
static bool forget_open(const struct place *place, int fd, struct err *err)
{
    bool is_marked = state_seal_mark(fd, err);
    bool is_removed = unlinkat(place->folder, place->name, 0) == 0 && sync_folder(place, err);
    return is_marked || is_removed;
}

static enum state_file_found forget_place(const struct place *place, struct err *err)
{
    int fd = open_locked(place, place->name, 0, LOCK_PAUSES, err);
    if (fd < 0)
        return errno == ENOENT ? STATE_FILE_NONE : STATE_FILE_REFUSED;
    bool is_forgotten = forget_open(place, fd, err);
    close(fd);
    return is_forgotten ? STATE_FILE_TAKEN : STATE_FILE_REFUSED;
}

enum state_file_found state_file_forget(const char *path, struct err *err)
{
    struct place place;
    if (!open_place(&place, path, err))
        return errno == ENOENT ? STATE_FILE_NONE : STATE_FILE_REFUSED;
    enum state_file_found found = forget_place(&place, err);
    close(place.folder);
    return found;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* All but the name that the next start looks for. */
static bool write_open(const struct state_file *file, int fd, int memory,
                       const struct state_facts *facts, uint64_t deadline_ms, uint64_t *bytes,
                       struct err *err)
{
    if (ftruncate(fd, 0) != 0 || fchmod(fd, 0600) != 0)
        return err_set(err, "what an earlier try left cannot be overwritten: %s", strerror(errno));
    if (!state_seal_write(fd, memory, file->key, facts, deadline_ms, bytes, err))
        return false;
    return fsync(fd) == 0 || err_set_passing(err, "it cannot be synced: %s", strerror(errno));
}

/* What is there already is left from a start that refused it, or from a gate that ran beside. */
static bool may_replace(const struct place *place, struct err *err)
{
    int fd = openat(place->folder, place->name,
                    O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT || err_set(err, "it cannot be opened: %s", strerror(errno));
    bool is_ours = is_ours_or_empty(fd, err);
    close(fd);
    return is_ours;
}

/* False: it is taken back, since who hears that there is no file may use the memory. Marked as well
 * as removed: on a disk like that, either may not last. */
static bool sync_or_take_back(const struct place *place, int fd, struct err *err)
{
    struct err why, ignored;
    if (sync_folder(place, &why))
        return true;
    bool is_marked = state_seal_mark(fd, &ignored);
    bool is_removed = unlinkat(place->folder, place->name, 0) == 0;
    return err_set(err, "%.200s; the file is %s", why.text,
                   is_removed  ? "removed again"
                   : is_marked ? "marked as read, so that nobody can use it"
                               : "still there: remove it, or sessions could use record numbers a "
                                 "second time");
}

static bool write_place(const struct state_file *file, const struct place *place, int memory,
                        const struct state_facts *facts, uint64_t deadline_ms, uint64_t *bytes,
                        struct err *err)
{
    char name[NAME_MAX + 1];
    if (!may_replace(place, err))
        return false;
    snprintf(name, sizeof(name), "%s" SUFFIX, place->name);
    int fd = open_locked(place, name, O_CREAT, 0, err);
    if (fd < 0)
        return false;
    bool is_written = write_open(file, fd, memory, facts, deadline_ms, bytes, err);
    if (is_written && renameat(place->folder, name, place->folder, place->name) != 0)
        is_written = err_set(err, "it cannot get its name: %s", strerror(errno));
    if (is_written)
        is_written = sync_or_take_back(place, fd, err);
    else
        unlinkat(place->folder, name, 0);
    close(fd);
    return is_written;
}

bool state_file_write(const struct state_file *file, int memory, uint64_t gate_ms,
                      uint64_t deadline_ms, uint64_t *bytes, struct err *err)
{
    struct place place;
    struct stat info;
    if (fstat(memory, &info) != 0)
        return err_set(err, "the state cannot be examined: %s", strerror(errno));
    struct state_facts facts = {.layout = file->layout,
                                .memory_bytes = (uint64_t)info.st_size,
                                .gate_ms = gate_ms,
                                .host = file->host};
    if (!open_place(&place, file->path, err))
        return false;
    bool is_written = write_place(file, &place, memory, &facts, deadline_ms, bytes, err);
    close(place.folder);
    return is_written;
}
