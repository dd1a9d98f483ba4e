#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

enum { WAIT_S = 3 };

/* fd: -1 = none. */
static bool send_to(const struct sockaddr_un *name, socklen_t name_size, const char *state, int fd)
{
    static const struct timeval wait = {.tv_sec = WAIT_S};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec text = {.iov_base = (void *)state, .iov_len = strlen(state)};
    struct msghdr message = {
        .msg_name = (void *)name, .msg_namelen = name_size, .msg_iov = &text, .msg_iovlen = 1};
    if (fd >= 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.space);
    }
    int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_sent = to >= 0 && setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
                   sendmsg(to, &message, MSG_NOSIGNAL) >= 0;
    int error = errno;
    if (to >= 0)
        close(to);
    errno = error;
    return is_sent;
}

static bool try_to_send(const char *state, int fd, struct err *err)
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
    if (!send_to(&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len), state, fd))
        return err_set(err, "NOTIFY_SOCKET=%s: sending %s: %s", path, state, strerror(errno));
    return true;
}

bool notify_send_fd(const char *state, int fd)
{
    struct err err = {0};
    bool is_sent = try_to_send(state, fd, &err);
    if (!is_sent)
        log_text(LOG_WARNING, "notify_failed", "%s", err.text);
    return is_sent;
}

bool notify_send(const char *state)
{
    return notify_send_fd(state, -1);
}

bool notify_send_reloading(void)
{
    char state[64];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    return notify_send(state);
}

bool notify_wants_watchdog(void)
{
    const char *interval_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (interval_us == NULL || strtoull(interval_us, NULL, 10) == 0)
        return false;
    return pid == NULL || strtoull(pid, NULL, 10) == (unsigned long long)getpid();
}
