#include "run/metrics_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than there is room for: they come at once, and the others have their turn soon. */
enum { LISTEN_BACKLOG = 128 };

static bool set_bind_error(const struct addr *addr, int error, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    addr_format(addr, text);
    if (error == EADDRINUSE)
        return err_set(err,
                       "[gate] metrics = %s: this port is in use (maybe by another dtlsgate; "
                       "`ss -ltnp 'sport = :%u'` shows by whom); end that program, choose another "
                       "port, or leave the setting empty to serve no metrics",
                       text, addr->port);
    if (error == EADDRNOTAVAIL)
        return err_set(err,
                       "[gate] metrics = %s: this machine does not have that address; use one of "
                       "its own (`ip address` lists them) or 0.0.0.0 for all",
                       text);
    if (error == EACCES)
        return err_set(err,
                       "[gate] metrics = %s: not allowed to bind; ports below 1024 need root or "
                       "CAP_NET_BIND_SERVICE, so choose a higher one",
                       text);
    return err_set(err, "[gate] metrics = %s: cannot listen: %s", text, strerror(error));
}

static int open_new(const struct addr *addr, struct err *err)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(addr, &storage);
    int fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        set_bind_error(addr, errno, err);
        return -1;
    }
    int on = 1, off = 0;
    bool is_open = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    /* One address is all that there is, so [::] takes IPv4 too, whatever the system's default. */
    if (is_open && addr->family == AF_INET6)
        is_open = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
    is_open = is_open && bind(fd, (const struct sockaddr *)&storage, size) == 0 &&
              listen(fd, LISTEN_BACKLOG) == 0;
    if (!is_open) {
        set_bind_error(addr, errno, err);
        close(fd);
        return -1;
    }
    return fd;
}

static bool is_at(int fd, const struct addr *addr)
{
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof(storage);
    struct addr bound;
    return getsockname(fd, (struct sockaddr *)&storage, &size) == 0 &&
           addr_from_sockaddr(&bound, (struct sockaddr *)&storage) && addr_equal(&bound, addr);
}

/* -1: there is none, or it is elsewhere and in nobody's way any more, but for a moment. */
static int take_inherited(const struct addr *addr, struct handover *handover)
{
    int fd = handover_take(handover, HANDOVER_METRICS);
    if (fd < 0 || is_at(fd, addr))
        return fd;
    close(fd);
    handover_drop(handover, HANDOVER_METRICS);
    return -1;
}

int metrics_socket_open(const struct addr *addr, struct handover *handover, struct err *err)
{
    int fd = handover != NULL ? take_inherited(addr, handover) : -1;
    while (fd < 0 && (fd = open_new(addr, err)) < 0) {
        if (handover == NULL || !handover_await_drop(handover))
            return -1;
    }
    return fd;
}
