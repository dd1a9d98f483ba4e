#define _GNU_SOURCE
#include "run/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

/* True if the process has exactly these ids, real, effective and saved, and cannot become root. */
static bool is_shut(uid_t uid, gid_t gid)
{
    uid_t real_uid, effective_uid, saved_uid;
    gid_t real_gid, effective_gid, saved_gid;
    if (getresuid(&real_uid, &effective_uid, &saved_uid) != 0 ||
        getresgid(&real_gid, &effective_gid, &saved_gid) != 0)
        return false;
    if (real_uid != uid || effective_uid != uid || saved_uid != uid || real_gid != gid ||
        effective_gid != gid || saved_gid != gid)
        return false;
    return setuid(0) != 0 && setgid(0) != 0 && seteuid(0) != 0 && setgroups(0, NULL) != 0;
}

/* NULL with err if the user is not one to become. */
static const struct passwd *find_user(const char *user, struct err *err)
{
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        err_set_passing(err, "%s; name a user that getent passwd shows",
                        errno != 0 ? strerror(errno) : "no such user");
    else if (entry->pw_uid == 0)
        err_set(err, "that is root itself; name a user without privileges, or leave it empty to "
                     "stay root");
    return entry != NULL && entry->pw_uid != 0 ? entry : NULL;
}

bool privileges_check(const char *user, struct err *err)
{
    return find_user(user, err) != NULL;
}

bool privileges_are_of(const char *user)
{
    const struct passwd *entry = getpwnam(user);
    return entry != NULL && entry->pw_uid == geteuid();
}

uid_t privileges_uid(const char *user)
{
    struct err err;
    const struct passwd *entry = geteuid() == 0 && user[0] != '\0' ? find_user(user, &err) : NULL;
    return entry != NULL ? entry->pw_uid : geteuid();
}

bool privileges_drop(const char *user, struct err *err)
{
    const struct passwd *entry = find_user(user, err);
    if (entry == NULL)
        return false;
    uid_t uid = entry->pw_uid;
    gid_t gid = entry->pw_gid;
    /* Groups first: as another user it would not be permitted any more. */
    if (initgroups(user, gid) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0)
        return err_set(err,
                       "becoming the user %s failed: %s; in a container the capabilities SETUID "
                       "and SETGID are needed",
                       user, strerror(errno));
    if (!is_shut(uid, gid))
        return err_set(err, "root could be had back after becoming the user %s; not starting",
                       user);
    return true;
}

/* Keys are in memory. A core_pattern that is a pipe ignores the limit, but not the flag; the leak
 * sanitizer cannot do without it. A dump that is made all the same, by a debugger, holds no memory:
 * the TLS library has the keys of handshakes and sessions on the heap and on stacks. */
void privileges_forbid_core_dumps(void)
{
    int filter = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    if (filter >= 0) { /* there may be no /proc; once the flag is set, it is root's */
        ssize_t written = write(filter, "0", 1);
        (void)written;
        close(filter);
    }
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#if !defined(__SANITIZE_ADDRESS__)
    prctl(PR_SET_DUMPABLE, 0);
#endif
}
