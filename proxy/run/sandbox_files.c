#include "run/sandbox_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Landlock's interface, as its own names for it: the distribution's header may be older than the
 * kernel. landlock(7) */
enum { CREATE_VERSION = 1, RULE_PATH_BENEATH = 1 };

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SOCK = 1 << 9,
    FS_TRUNCATE = 1 << 14,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,
    NET_CONNECT_TCP = 1 << 1,
    SCOPE_SIGNAL = 1 << 1,
};

/* How many of the rights on files a version knows. */
static const unsigned fs_bits[] = {0, 13, 14, 15, 15, 16};
enum { NEWEST_FS = 5, NET_SINCE = 4, SCOPE_SINCE = 6 };

/* An old kernel takes the longer struct, if what it does not know is 0. */
struct ruleset {
    uint64_t fs, net, scope;
};

struct path_beneath {
    uint64_t may;
    int32_t fd;
} __attribute__((packed));

/* arm64, x86-64 and all newer ones have the same numbers. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

int sandbox_files_version(struct err *err)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    if (version > 0)
        return (int)version;
    if (errno == EPERM)
        err_set(err, "a filter around the gate, such as that of its unit or container, refuses it "
                     "Landlock");
    else
        err_set(err, "the kernel has no Landlock, or it is off: %s", strerror(errno));
    return 0;
}

static uint64_t rights_of(unsigned may)
{
    uint64_t rights = 0;
    if ((may & SANDBOX_READ) != 0)
        rights |= FS_READ_FILE | FS_READ_DIR;
    if ((may & SANDBOX_EXECUTE) != 0)
        rights |= FS_EXECUTE;
    if ((may & SANDBOX_KEEP) != 0)
        rights |= FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_REMOVE_FILE;
    if ((may & SANDBOX_SOCKET) != 0)
        rights |= FS_MAKE_SOCK | FS_REMOVE_FILE;
    return rights;
}

/* A path that has gone by now is no place. */
static bool add_rule(int ruleset, int fd, uint64_t rights)
{
    struct stat of;
    if (fstat(fd, &of) != 0)
        return false;
    struct path_beneath rule = {.may = S_ISDIR(of.st_mode) ? rights : rights & FS_OF_FILES,
                                .fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
}

static bool add_rules(int ruleset, uint64_t known, const struct sandbox_paths *paths, int program)
{
    for (uint32_t i = 0; i < paths->count; i++) {
        int fd = open(paths->at[i].path, O_PATH | O_CLOEXEC);
        bool is_added = fd < 0 || add_rule(ruleset, fd, rights_of(paths->at[i].may) & known);
        int error = errno;
        if (fd >= 0)
            close(fd);
        errno = error;
        if (!is_added)
            return false;
    }
    return program < 0 ||
           add_rule(ruleset, program, rights_of(SANDBOX_READ | SANDBOX_EXECUTE) & known);
}

bool sandbox_files_confine(const struct sandbox_paths *paths, int program, struct err *err)
{
    int version = sandbox_files_version(err);
    if (version == 0)
        return false;
    const struct ruleset rules = {
        .fs = (1u << fs_bits[version < NEWEST_FS ? version : NEWEST_FS]) - 1,
        .net = version >= NET_SINCE ? NET_CONNECT_TCP : 0,
        .scope = version >= SCOPE_SINCE ? SCOPE_SIGNAL : 0,
    };
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
    bool is_confined = ruleset >= 0 && add_rules(ruleset, rules.fs, paths, program) &&
                       syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    if (!is_confined)
        err_set(err, "Landlock: %s", strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return is_confined;
}
