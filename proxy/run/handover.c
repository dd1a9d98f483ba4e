#include "run/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"

enum { FIRST_FD = 3, FDS_MAX = 65536 };

enum { DROP_PAUSES = 200, DROP_PAUSE_MS = 10 };

/* For a moment there are twice as many descriptors as are handed over, before it is known what the
 * settings need. Services begin with a soft limit of 1024. */
static void raise_soft_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- from the process before ---------------------------------------------------------------- */

static void forget_environment(void)
{
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("LISTEN_PID");
}

/* True with *value, if the variable is a number of at most `max`. */
static bool read_number(const char *name, unsigned long max, unsigned long *value)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *value = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *value <= max;
}

/* `names` is cut into pieces. */
static bool name_descriptors(struct handover *handover, unsigned long count, char *names,
                             struct err *err)
{
    char *rest = names;
    for (unsigned long i = 0; i < count; i++) {
        const char *name = strsep(&rest, ":");
        int fd = FIRST_FD + (int)i;
        if (name == NULL)
            return err_set(err, "LISTEN_FDS=%lu, but LISTEN_FDNAMES has %lu names", count, i);
        /* What is started from here must not have it, but for what it is handed over to. */
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
            return err_set(err, "LISTEN_FDS=%lu, but descriptor %d (%.64s) is not open", count, fd,
                           name);
        if (!fd_list_add(&handover->inherited, name, fd, err))
            return false;
    }
    return true;
}

static bool copy_descriptors(struct handover *handover, struct err *err)
{
    const struct fd_list *inherited = &handover->inherited;
    handover->at = calloc(inherited->count + 1, sizeof(*handover->at));
    if (handover->at == NULL)
        return err_set_passing(err, "out of memory for %u descriptors", inherited->count);
    for (uint32_t i = 0; i < inherited->count; i++) {
        struct named_fd *copy = &handover->at[i];
        *copy = inherited->items[i];
        copy->fd = fcntl(inherited->items[i].fd, F_DUPFD_CLOEXEC, FIRST_FD);
        if (copy->fd < 0)
            return err_set_passing(err, "%u descriptors have come: %s; ulimit -n says how many",
                                   inherited->count, strerror(errno));
        handover->count++;
    }
    return true;
}

static bool read_inherited(struct handover *handover, struct err *err)
{
    unsigned long count, pid;
    const char *names = getenv("LISTEN_FDNAMES");
    if (getenv("LISTEN_FDS") == NULL || !read_number("LISTEN_PID", INT32_MAX, &pid) ||
        pid != (unsigned long)getpid())
        return true; /* nothing, or meant for another process */
    if (!read_number("LISTEN_FDS", FDS_MAX, &count))
        return err_set(err, "LISTEN_FDS=%.40s: not a number of descriptors", getenv("LISTEN_FDS"));
    char *copy = strdup(names != NULL ? names : "");
    if (copy == NULL)
        return err_set_passing(err, "out of memory for the names of descriptors");
    raise_soft_limit();
    bool is_good = name_descriptors(handover, count, copy, err) && copy_descriptors(handover, err);
    free(copy);
    if (!is_good)
        handover_close(handover);
    return is_good;
}

bool handover_inherit(struct handover *handover, bool wants_store, struct err *err)
{
    unsigned long max;
    const char *manager = getenv("NOTIFY_SOCKET");
    *handover = (struct handover){0};
    if (read_number("FDSTORE", UINT32_MAX, &max)) {
        handover->store_max = (uint32_t)max;
        wants_store = max > 0;
    }
    handover->has_store = wants_store && manager != NULL && manager[0] != '\0';
    bool is_good = read_inherited(handover, err);
    forget_environment();
    return is_good;
}

int handover_take(struct handover *handover, const char *name)
{
    for (uint32_t i = 0; i < handover->count; i++) {
        struct named_fd *item = &handover->at[i];
        if (item->fd < 0 || strcmp(item->name, name) != 0)
            continue;
        int fd = item->fd;
        item->fd = -1;
        return fd;
    }
    return -1;
}

/* From the last one on: in a group of sockets the others keep their places. */
static void close_rest(struct handover *handover)
{
    while (handover->count > 0) {
        const struct named_fd *item = &handover->at[--handover->count];
        if (item->fd >= 0)
            close(item->fd);
    }
    free(handover->at);
    handover->at = NULL;
}

void handover_close(struct handover *handover)
{
    close_rest(handover);
    fd_list_close(&handover->inherited);
    free(handover->stored);
    handover->stored = NULL;
    handover->stored_count = handover->stored_capacity = 0;
}

/* ---- the store ------------------------------------------------------------------------------ */

/* fd: -1 = none. */
static bool tell(const char *what, const char *name, const char *more, int fd)
{
    char text[FD_NAME_MAX + 64];
    snprintf(text, sizeof(text), "%s\nFDNAME=%s%s", what, name, more);
    return notify_send_fd(text, fd);
}

/* Out of memory, it is stored again next time, which does no harm. */
static void remember(struct handover *handover, const struct named_fd *item)
{
    struct stat of;
    if (fstat(item->fd, &of) != 0)
        return;
    if (handover->stored_count == handover->stored_capacity) {
        uint32_t capacity = handover->stored_capacity * 2 + 16;
        struct stored_fd *stored = realloc(handover->stored, capacity * sizeof(*stored));
        if (stored == NULL)
            return;
        handover->stored = stored;
        handover->stored_capacity = capacity;
    }
    struct stored_fd *stored = &handover->stored[handover->stored_count++];
    *stored = (struct stored_fd){.device = of.st_dev, .file = of.st_ino};
    memcpy(stored->name, item->name, sizeof(stored->name));
}

static bool is_same(const struct stored_fd *stored, const struct named_fd *item)
{
    struct stat of;
    return fstat(item->fd, &of) == 0 && of.st_dev == stored->device && of.st_ino == stored->file;
}

static bool is_stored(const struct handover *handover, const struct named_fd *item)
{
    for (uint32_t i = 0; i < handover->stored_count; i++) {
        if (strcmp(handover->stored[i].name, item->name) == 0)
            return true;
    }
    return false;
}

/* Removes all of that name: a store may have several, and gives no other way. */
static bool take_out(struct handover *handover, const char *name)
{
    uint32_t left = 0;
    if (!tell("FDSTOREREMOVE=1", name, "", -1))
        return false;
    for (uint32_t i = 0; i < handover->stored_count; i++) {
        if (strcmp(handover->stored[i].name, name) != 0)
            handover->stored[left++] = handover->stored[i];
    }
    handover->stored_count = left;
    return true;
}

static bool take_out_old(struct handover *handover, const struct fd_list *in_use)
{
    uint32_t i = 0;
    while (i < handover->stored_count) {
        const struct stored_fd *old = &handover->stored[i];
        const struct named_fd *now = fd_list_find(in_use, old->name);
        if (now != NULL && is_same(old, now)) {
            i++;
            continue;
        }
        char name[FD_NAME_MAX];
        memcpy(name, old->name, sizeof(name));
        if (!take_out(handover, name))
            return false;
        i = 0; /* several may have gone */
    }
    return true;
}

/* FDPOLL=0: else systemd drops a socket once an ICMP error has come for it. */
static bool put_in(struct handover *handover, const struct named_fd *item)
{
    if (!tell("FDSTORE=1", item->name, "\nFDPOLL=0", item->fd))
        return false;
    remember(handover, item);
    return true;
}

void handover_drop(struct handover *handover, const char *name)
{
    struct named_fd *item = fd_list_find(&handover->inherited, name);
    int fd;
    if (item == NULL)
        return;
    while ((fd = handover_take(handover, name)) >= 0)
        close(fd);
    for (; item != NULL; item = fd_list_find(&handover->inherited, name)) {
        close(item->fd);
        fd_list_remove(&handover->inherited, item);
    }
    if (handover->has_store)
        take_out(handover, name);
    handover->pauses_left = DROP_PAUSES;
}

bool handover_await_drop(struct handover *handover)
{
    if (handover->pauses_left == 0)
        return false;
    handover->pauses_left--;
    nanosleep(&(struct timespec){.tv_nsec = DROP_PAUSE_MS * 1000000L}, NULL);
    return true;
}

void handover_store(struct handover *handover, const char *name, int fd)
{
    struct named_fd item = {.fd = fd};
    if (!handover->has_store)
        return;
    snprintf(item.name, sizeof(item.name), "%s", name);
    (void)put_in(handover, &item); /* else handover_keep() does it */
}

static bool put_in_new(struct handover *handover, const struct fd_list *in_use)
{
    for (uint32_t i = 0; i < in_use->count; i++) {
        const struct named_fd *item = &in_use->items[i];
        if (!is_stored(handover, item) && !put_in(handover, item))
            return false;
    }
    return true;
}

/* A manager that does not listen is not asked again for each descriptor: that would hold us up for
 * seconds each time, until somebody takes us for dead. */
static bool update_store(struct handover *handover, const struct fd_list *in_use)
{
    if (!take_out_old(handover, in_use) || !put_in_new(handover, in_use))
        return false;
    if (handover->store_max > 0 && in_use->count > handover->store_max)
        log_text(LOG_WARNING, "fd_store_full",
                 "%u descriptors, but the service manager keeps %u of them only; "
                 "FileDescriptorStoreMax= of the unit says how many",
                 in_use->count, handover->store_max);
    return true;
}

static void log_unwanted(const struct handover *handover, const struct fd_list *in_use)
{
    for (uint32_t i = 0; i < handover->count; i++) {
        const struct named_fd *item = &handover->at[i];
        if (item->fd < 0 || fd_list_find(in_use, item->name) != NULL ||
            strcmp(item->name, HANDOVER_BINARY) == 0 || strcmp(item->name, HANDOVER_FALLBACK) == 0)
            continue;
        log_text(LOG_INFO, "descriptor_closed",
                 "%s: it was handed over, but the settings do not ask for it any more", item->name);
    }
}

static void settle(struct handover *handover, const struct fd_list *in_use)
{
    log_unwanted(handover, in_use);
    close_rest(handover);
    for (uint32_t i = 0; i < handover->inherited.count; i++)
        remember(handover, &handover->inherited.items[i]);
    fd_list_close(&handover->inherited);
    handover->is_settled = true;
}

bool handover_keep(struct handover *handover, const struct fd_list *in_use)
{
    if (!handover->is_settled)
        settle(handover, in_use);
    return !handover->has_store || update_store(handover, in_use);
}

/* ---- to the next process -------------------------------------------------------------------- */

/* Out of the way of those that are put in place one after the other. */
static bool move_up(int *fd, int least, struct err *err)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, least);
    if (moved < 0)
        return err_set_passing(err, "no descriptor from %d on: %s; ulimit -n says how many", least,
                               strerror(errno));
    *fd = moved;
    return true;
}

static bool put_in_place(struct fd_list *list, int *program, struct err *err)
{
    int end = FIRST_FD + (int)list->count;
    if (*program >= 0 && *program < end && !move_up(program, end, err))
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!move_up(&list->items[i].fd, end, err))
            return false;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        int to = FIRST_FD + (int)i;
        if (dup2(list->items[i].fd, to) < 0) /* without FD_CLOEXEC */
            return err_set_passing(err, "descriptor %d: %s", to, strerror(errno));
        list->items[i].fd = to;
    }
    /* A library's that has no FD_CLOEXEC. Kernels before 5.11 leave those few open. */
    (void)!close_range((unsigned)end, ~0u, CLOSE_RANGE_CLOEXEC);
    return true;
}

static bool set_environment(const struct fd_list *list)
{
    char number[16], pid[16];
    size_t size = (list->count + 1) * (size_t)FD_NAME_MAX, used = 0;
    char *names = calloc(1, size);
    if (names == NULL)
        return false;
    for (uint32_t i = 0; i < list->count; i++)
        used += (size_t)snprintf(names + used, size - used, "%s%s", i > 0 ? ":" : "",
                                 list->items[i].name);
    snprintf(number, sizeof(number), "%u", list->count);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    bool is_set = setenv("LISTEN_FDS", number, 1) == 0 && setenv("LISTEN_PID", pid, 1) == 0 &&
                  setenv("LISTEN_FDNAMES", names, 1) == 0;
    free(names);
    return is_set;
}

void handover_exec(const char *path, int fd, char *const *argv, struct fd_list *list,
                   struct err *err)
{
    raise_soft_limit();
    if (!put_in_place(list, &fd, err))
        return;
    if (!set_environment(list)) {
        err_set_passing(err, "out of memory for the environment of the next process");
        return;
    }
    if (path != NULL)
        execv(path, argv);
    else
        fexecve(fd, argv, environ);
    err_set_passing(err, "executing %s: %s", path != NULL ? path : "the program kept open",
                    strerror(errno));
}
