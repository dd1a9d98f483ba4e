#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { WAIT_S = 3 };

static bool send_to(const struct sockaddr_un *name, socklen_t name_size, const char *state)
{
    static const struct timeval wait = {.tv_sec = WAIT_S};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_sent = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
                   sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)name,
                          name_size) >= 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return is_sent;
}

bool notify_send(const char *state, struct err *err)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (path == NULL || path[0] == '\0')
        return true;
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(name.sun_path))
        return err_set(err,
                       "NOTIFY_SOCKET=%.100s: neither an absolute path of at most %zu bytes "
                       "nor a name after @",
                       path, sizeof(name.sun_path) - 1);
    memcpy(name.sun_path, path, len);
    if (path[0] == '@')
        name.sun_path[0] = '\0'; /* a socket of the abstract namespace: its name has no end mark */
    if (!send_to(&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len), state))
        return err_set(err, "NOTIFY_SOCKET=%s: sending %s: %s", path, state, strerror(errno));
    return true;
}

bool notify_wants_watchdog(void)
{
    const char *interval_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (interval_us == NULL || strtoull(interval_us, NULL, 10) == 0)
        return false;
    return pid == NULL || strtoull(pid, NULL, 10) == (unsigned long long)getpid();
}
