#include "net/udp_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/udp_holders.h"

enum {
    /* Devices come back all at once. */
    SOCKET_BUFFER_BYTES = 4 * 1024 * 1024,
    V6_MTU_MIN = 1280, /* RFC 8200 section 5 */
};

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* Best effort: with CAP_NET_ADMIN the kernel's limits (net.core.rmem_max, wmem_max) do not apply.
 */
void udp_set_receive_buffer(const struct udp_socket *socket, int bytes)
{
    if (!set_option(socket->fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes))
        set_option(socket->fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

int udp_try_receive_buffer(int bytes)
{
    struct udp_socket probe = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    int got = -1;
    socklen_t size = sizeof(got);
    if (probe.fd < 0)
        return -1;
    udp_set_receive_buffer(&probe, bytes);
    if (getsockopt(probe.fd, SOL_SOCKET, SO_RCVBUF, &got, &size) == 0)
        got /= 2; /* the kernel doubles it, for what it needs itself */
    udp_close(&probe);
    return got;
}

static void set_buffers(const struct udp_socket *socket)
{
    int fd = socket->fd;
    udp_set_receive_buffer(socket, SOCKET_BUFFER_BYTES);
    if (!set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_BYTES))
        set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER_BYTES);
}

static bool fail_open(struct udp_socket *socket, struct err *err, const char *what)
{
    int error = errno;
    char text[ADDR_TEXT_MAX];
    addr_format(&socket->bound, text);
    udp_close(socket);
    const char *hint = "";
    if (error == EADDRINUSE)
        hint = "; another program has this address (ss -ulpn shows which)";
    else if (error == EADDRNOTAVAIL)
        hint = "; this machine has no such address (ip addr shows them)";
    else if (error == EACCES)
        hint = "; ports below 1024 need CAP_NET_BIND_SERVICE";
    return err_set(err, "UDP socket on %s: %s: %s%s", text, what, strerror(error), hint);
}

/* How long a backend's answer is, is not for the gate to choose, so each should find its way also
 * where ICMP is filtered.
 * IPv4: the "don't fragment" bit is not set, and routers cut what is too long. Of ICMP, which
 * anybody can forge to make fragments small, no notice is taken. IPv6: only the sender can cut. The
 * kernel does so where it knows that the path takes less, by ICMP (which can be forged, but to no
 * less than what every path takes) or by the route's mtu; and what its own interface does not take
 * it cuts to the size that every path takes. */
static bool never_forbid_fragments(int fd, int family)
{
    if (family == AF_INET)
        return set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
    return set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT) &&
           set_option(fd, IPPROTO_IPV6, IPV6_MTU, V6_MTU_MIN);
}

/* is_shared: beside others that have the address, if they allow it. */
static bool open_listener(struct udp_socket *sock, const struct addr *addr, bool is_shared,
                          struct err *err)
{
    struct sockaddr_storage name;
    socklen_t name_len = addr_to_sockaddr(addr, &name);

    *sock = (struct udp_socket){.bound = *addr};
    sock->fd = socket(addr->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock->fd < 0)
        return fail_open(sock, err, "socket");
    if (is_shared && !set_option(sock->fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return fail_open(sock, err, "SO_REUSEPORT");
    bool has_info = addr->family == AF_INET
                        ? set_option(sock->fd, IPPROTO_IP, IP_PKTINFO, 1)
                        : set_option(sock->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
                              set_option(sock->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (!has_info || !set_option(sock->fd, SOL_SOCKET, SO_RXQ_OVFL, 1))
        return fail_open(sock, err, "packet info");
    if (!never_forbid_fragments(sock->fd, addr->family))
        return fail_open(sock, err, "fragments");
    set_buffers(sock);
    if (bind(sock->fd, (struct sockaddr *)&name, name_len) != 0)
        return fail_open(sock, err, "bind");
    return true;
}

/* Beside ours, which the kernel allows only if it allows all others of the same user, too: they are
 * looked for when it is bound. So of two gates that try at once, each sees the other. */
static bool open_beside(struct udp_socket *sock, const struct addr *addr,
                        const struct fd_list *ours, struct err *err)
{
    if (!open_listener(sock, addr, true, err))
        return false;
    if (udp_holders_are_ours(addr, sock->fd, ours, err))
        return true;
    udp_close(sock);
    return false;
}

/* A socket that binds without SO_REUSEPORT is refused if any other has the address, whatever that
 * one allows. It may allow others afterwards: the kernel makes the group, in which this is the
 * first, when the second comes (since Linux 4.6). */
bool udp_open_first_listener(struct udp_socket *sock, const struct addr *addr,
                             const struct fd_list *ours, struct err *err)
{
    if (udp_holders_overlap(ours, addr))
        return open_beside(sock, addr, ours, err);
    if (!open_listener(sock, addr, false, err))
        return false;
    return set_option(sock->fd, SOL_SOCKET, SO_REUSEPORT, 1) ||
           fail_open(sock, err, "SO_REUSEPORT");
}

bool udp_open_listener(struct udp_socket *sock, const struct addr *addr, struct err *err)
{
    return open_listener(sock, addr, true, err);
}

bool udp_open_backend(struct udp_socket *sock, uint16_t port, bool is_first, struct err *err)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t name_len = sizeof(name);

    *sock = (struct udp_socket){.bound = {.family = AF_INET, .port = port}};
    sock->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock->fd < 0)
        return fail_open(sock, err, "socket");
    if (setsockopt(sock->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) != 0)
        return fail_open(sock, err,
                         "binding to the loopback interface (without privilege it needs "
                         "Linux 5.7 or later, before that CAP_NET_RAW)");
    /* Never in fragments, for which the kernel would have to make an ID for each datagram: the
     * loopback interface takes the largest whole. */
    if (!set_option(sock->fd, IPPROTO_IP, IP_PKTINFO, 1) ||
        !set_option(sock->fd, IPPROTO_IP, IP_RECVERR, 1) ||
        !set_option(sock->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO) ||
        !set_option(sock->fd, SOL_SOCKET, SO_RXQ_OVFL, 1))
        return fail_open(sock, err, "packet info");
    set_buffers(sock);
    if (!is_first && !set_option(sock->fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return fail_open(sock, err, "SO_REUSEPORT");
    if (bind(sock->fd, (struct sockaddr *)&name, sizeof(name)) != 0 ||
        getsockname(sock->fd, (struct sockaddr *)&name, &name_len) != 0)
        return fail_open(sock, err, "bind");
    /* As in udp_open_first_listener. */
    if (is_first && !set_option(sock->fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return fail_open(sock, err, "SO_REUSEPORT");
    sock->bound.port = ntohs(name.sin_port);
    return true;
}

void udp_close(struct udp_socket *socket)
{
    if (socket->fd >= 0)
        close(socket->fd);
    socket->fd = -1;
}

/* How many datagrams the kernel has dropped at it so far: the process before has counted them. */
static uint32_t drops_so_far(int fd)
{
    uint32_t numbers[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(numbers);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &size) != 0)
        return 0;
    return numbers[SK_MEMINFO_DROPS];
}

/* A socket may come from a time when the kernel let it have less. What has more keeps it. */
static void raise_buffers(const struct udp_socket *socket)
{
    int has = 0;
    socklen_t size = sizeof(has);
    if (getsockopt(socket->fd, SOL_SOCKET, SO_RCVBUF, &has, &size) == 0 &&
        has / 2 < SOCKET_BUFFER_BYTES)
        set_buffers(socket);
}

bool udp_adopt(struct udp_socket *sock, int fd, struct err *err)
{
    struct sockaddr_storage name;
    socklen_t name_len = sizeof(name), type_len = sizeof(int);
    int type = 0;
    *sock = (struct udp_socket){.fd = -1};
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0 || type != SOCK_DGRAM ||
        getsockname(fd, (struct sockaddr *)&name, &name_len) != 0 ||
        !addr_from_sockaddr(&sock->bound, (struct sockaddr *)&name))
        return err_set(err, "descriptor %d is no UDP socket", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_set(err, "socket in descriptor %d: %s", fd, strerror(errno));
    sock->fd = fd;
    raise_buffers(sock);
    sock->kernel_drops = drops_so_far(fd);
    return true;
}
