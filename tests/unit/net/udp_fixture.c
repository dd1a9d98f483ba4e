#include "net/udp_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

const struct addr udp_fixture_unset;

int udp_fixture_set_up(void **state)
{
    struct udp_fixture *f = calloc(1, sizeof(*f));
    if (f == NULL || !udp_in_init(&f->in) || !udp_out_init(&f->out))
        return -1;
    *state = f;
    return 0;
}

int udp_fixture_tear_down(void **state)
{
    struct udp_fixture *f = *state;
    udp_in_deinit(&f->in);
    udp_out_deinit(&f->out);
    free(f);
    return 0;
}

struct addr udp_fixture_parse(const char *text)
{
    struct addr addr;
    struct err err;
    if (!addr_parse(&addr, text, &err))
        fail_msg("%s", err.text);
    return addr;
}

struct addr udp_fixture_name_of(int fd)
{
    struct sockaddr_storage storage;
    socklen_t size = sizeof(storage);
    struct addr addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&storage, &size), 0);
    assert_true(addr_from_sockaddr(&addr, (struct sockaddr *)&storage));
    return addr;
}

int udp_fixture_open_plain(struct addr addr)
{
    struct sockaddr_storage storage;
    struct timeval limit = {.tv_sec = 10};
    addr.port = 0;
    socklen_t size = addr_to_sockaddr(&addr, &storage);
    int fd = socket(addr.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int bytes = 1 << 20; /* a whole send batch arrives at once */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    int on = 1; /* an IPv6 address that no interface has */
    if (addr.family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)), 0);
    if (bind(fd, (struct sockaddr *)&storage, size) != 0)
        fail_msg("bind: %s", strerror(errno));
    return fd;
}

void udp_fixture_send_plain(int fd, const struct addr *to, const void *data, size_t len)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(to, &storage);
    ssize_t sent = sendto(fd, data, len, 0, (struct sockaddr *)&storage, size);
    if (sent != (ssize_t)len)
        fail_msg("sendto: %s", strerror(errno));
}

size_t udp_fixture_receive_plain(int fd, void *data, size_t size, struct addr *from)
{
    struct sockaddr_storage storage;
    socklen_t storage_size = sizeof(storage);
    ssize_t got = recvfrom(fd, data, size, 0, (struct sockaddr *)&storage, &storage_size);
    if (got < 0)
        fail_msg("recvfrom: %s", strerror(errno));
    assert_true(addr_from_sockaddr(from, (struct sockaddr *)&storage));
    return (size_t)got;
}

bool udp_fixture_has_arrived(int fd)
{
    struct pollfd in = {.fd = fd, .events = POLLIN};
    return poll(&in, 1, 0) == 1 && (in.revents & POLLIN) != 0;
}

void udp_fixture_open_listener(struct udp_socket *listener, const char *ip_and_any_port)
{
    struct addr addr = udp_fixture_parse(ip_and_any_port);
    struct err err = {0};
    bool is_open = false;
    for (int attempt = 0; attempt < 20 && !is_open; attempt++) {
        int probe = udp_fixture_open_plain(addr);
        addr.port = udp_fixture_name_of(probe).port;
        close(probe);
        is_open = udp_open_first_listener(listener, &addr, NULL, &err);
    }
    if (!is_open)
        fail_msg("%s", err.text);
}

void udp_fixture_open_backend(struct udp_socket *backend)
{
    struct err err = {0};
    if (!udp_open_backend(backend, 0, true, &err))
        fail_msg("%s", err.text);
    assert_int_equal(backend->bound.family, AF_INET);
    assert_true(backend->bound.port != 0);
    assert_int_equal(udp_fixture_name_of(backend->fd).port, backend->bound.port);
}

void udp_fixture_receive(struct udp_socket *socket, struct udp_in *in)
{
    struct pollfd readable = {.fd = socket->fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 10000), 1);
    assert_true(udp_receive(socket, in));
    assert_true(in->count > 0);
}

void udp_fixture_queue(struct udp_out *out, const struct udp_socket *from, const struct addr *local,
                       const struct addr *to, const void *data, size_t len, bool *failed)
{
    memcpy(udp_out_room(out, len), data, len);
    udp_out_queue(out, from, local, to, len, failed, NULL);
}
