#include "run/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, GROUP_ROOM = 16384 };

static bool set_address(struct sockaddr_un *address, const char *path, struct err *err)
{
    size_t len = strlen(path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len >= sizeof(address->sun_path))
        return err_set(err, "%s: a path of a Unix socket has at most %zu bytes", path,
                       sizeof(address->sun_path) - 1);
    memcpy(address->sun_path, path, len + 1);
    return true;
}

static int connect_to(const struct sockaddr_un *address, int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int control_socket_connect(const char *path, struct err *err)
{
    struct sockaddr_un address;
    if (!set_address(&address, path, err))
        return -1;
    int fd = connect_to(&address, 0);
    if (fd >= 0)
        return fd;
    if (errno == EACCES)
        err_set(err, "%s: not allowed; who may is told by control_mode and control_group", path);
    else
        err_set(err,
                "no gate answers at %s: %s; the setting is `control`, and -c FILE or "
                "--socket PATH tells where to look",
                path, strerror(errno));
    return -1;
}

/* ---- the gate's end ------------------------------------------------------------------------- */

/* Makes way for a new file: only where it is certain that nobody answers. */
static bool remove_stale(const struct sockaddr_un *address, struct err *err)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT || err_set(err, "control = %s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return err_set(err, "control = %s: there is something else than a socket", path);
    int fd = connect_to(address, SOCK_NONBLOCK), error = errno;
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || error == EAGAIN) /* who listens there has many waiting */
        return err_set(
            err, "control = %s: another gate answers there; each needs a path of its own", path);
    if (error != ECONNREFUSED && error != ENOENT)
        return err_set(err,
                       "control = %s: it cannot be told whether a gate answers there: %s; if none "
                       "does, remove the file",
                       path, strerror(error));
    return unlink(path) == 0 || errno == ENOENT ||
           err_set(err, "control = %s: cannot remove what an earlier gate has left: %s", path,
                   strerror(errno));
}

static bool find_group(const char *name, gid_t *gid)
{
    char room[GROUP_ROOM];
    struct group group, *found = NULL;
    if (getgrnam_r(name, &group, room, sizeof(room), &found) != 0 || found == NULL)
        return false;
    *gid = group.gr_gid;
    return true;
}

static bool set_owners(const struct gate_config *config, struct err *err)
{
    const char *path = config->control, *name = config->control_group;
    gid_t gid;
    if (name[0] != '\0') {
        if (!find_group(name, &gid))
            return err_set(err, "control_group = %s: there is no such group", name);
        if (lchown(path, (uid_t)-1, gid) != 0)
            return err_set(err,
                           "control_group = %s: cannot give %s to it: %s; the gate's user "
                           "must be one of that group",
                           name, path, strerror(errno));
    }
    return chmod(path, config->control_mode) == 0 ||
           err_set(err, "control_mode: %s: %s", path, strerror(errno));
}

/* Nobody can connect before it listens. */
static bool bind_and_listen(struct control_socket *s, const struct sockaddr_un *address,
                            const struct gate_config *config, struct err *err)
{
    struct stat status;
    if (bind(s->fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        return err_set(err,
                       "control = %s: %s; its folder must be there, and the gate must be "
                       "allowed to write to it",
                       config->control, strerror(errno));
    if (lstat(config->control, &status) == 0) {
        s->device = status.st_dev;
        s->inode = status.st_ino;
    }
    return set_owners(config, err) &&
           (listen(s->fd, BACKLOG) == 0 ||
            err_set(err, "control = %s: %s", config->control, strerror(errno)));
}

bool control_socket_open(struct control_socket *s, const struct gate_config *config,
                         struct err *err)
{
    *s = (struct control_socket){.fd = -1};
    if (!set_address(&s->address, config->control, err) || !remove_stale(&s->address, err))
        return false;
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0)
        return err_set(err, "control = %s: no socket: %s", config->control, strerror(errno));
    if (bind_and_listen(s, &s->address, config, err))
        return true;
    control_socket_close(s);
    return false;
}

void control_socket_close(struct control_socket *s)
{
    struct stat status;
    if (s->fd < 0)
        return;
    if (s->inode != 0 && lstat(s->address.sun_path, &status) == 0 && status.st_dev == s->device &&
        status.st_ino == s->inode)
        unlink(
            s->address.sun_path); /* the folder may not be the gate's any more: then it is stale */
    close(s->fd);
    s->fd = -1;
}

bool control_socket_check(const struct gate_config *config, struct err *err)
{
    struct sockaddr_un address;
    struct stat status;
    char folder[sizeof(address.sun_path)];
    gid_t gid;
    if (!set_address(&address, config->control, err))
        return false;
    if (lstat(address.sun_path, &status) == 0 && !S_ISSOCK(status.st_mode))
        return err_set(err, "there is something else than a socket");
    memcpy(folder, address.sun_path, sizeof(folder));
    *strrchr(folder, '/') = '\0'; /* paths of settings are absolute */
    if (faccessat(AT_FDCWD, folder[0] != '\0' ? folder : "/", W_OK | X_OK, AT_EACCESS) != 0)
        return err_set(err, "its folder: %s; the gate must be allowed to write to it",
                       strerror(errno));
    if (config->control_group[0] != '\0' && !find_group(config->control_group, &gid))
        return err_set(err, "control_group = %s: there is no such group", config->control_group);
    return true;
}
