#include "gate/loopback.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gate/client_kinds.h"

uint64_t loopback_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- plain sockets -------------------------------------------------------------------------- */

int loopback_open(struct addr *bound)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(in);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    assert_true(addr_from_sockaddr(bound, (struct sockaddr *)&in));
    return fd;
}

void loopback_send(int fd, const struct addr *to, const void *data, size_t len)
{
    struct sockaddr_storage storage;
    socklen_t size = addr_to_sockaddr(to, &storage);
    assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&storage, size), len);
}

size_t loopback_receive(int fd, void *data, size_t size, struct addr *from)
{
    struct sockaddr_storage storage;
    socklen_t storage_size = sizeof(storage);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, LOOPBACK_LIMIT_MS), 1);
    ssize_t got = recvfrom(fd, data, size, 0, (struct sockaddr *)&storage, &storage_size);
    assert_true(got >= 0);
    assert_true(addr_from_sockaddr(from, (struct sockaddr *)&storage));
    return (size_t)got;
}

/* ---- a device ------------------------------------------------------------------------------- */

static void send_to_gate(void *context, const uint8_t *datagram, size_t len)
{
    const struct loopback_device *device = context;
    loopback_send(device->fd, &device->gate, datagram, len);
}

void loopback_device_receive(struct loopback_device *device)
{
    uint8_t bytes[2048];
    struct addr from;
    size_t len = loopback_receive(device->fd, bytes, sizeof(bytes), &from);
    assert_true(addr_equal(&from, &device->gate)); /* from the address that it sends to */
    memory_client_receive(device->client, bytes, len, loopback_clock_ms());
}

void loopback_device_begin(struct loopback_device *device, const struct addr *gate)
{
    device->fd = loopback_open(&device->addr);
    device->gate = *gate;
    device->client = memory_client_new(gate_kind("1.2 psk ccm-8"), "", send_to_gate, device);
    assert_non_null(device->client);
    memory_client_connect(device->client, loopback_clock_ms());
}

void loopback_device_connect(struct loopback_device *device, const struct addr *gate)
{
    loopback_device_begin(device, gate);
    while (device->client->state == CLIENT_CONNECTING)
        loopback_device_receive(device);
    assert_int_equal(device->client->state, CLIENT_UP);
}

void loopback_device_free(struct loopback_device *device)
{
    memory_client_free(device->client);
    close(device->fd);
}

void loopback_device_assert_echo(struct loopback_device *device, int server)
{
    char text[16];
    struct addr source;
    uint32_t count = device->client->message_count;
    assert_true(memory_client_send(device->client, "question", 8));
    assert_int_equal(loopback_receive(server, text, sizeof(text), &source), 8);
    assert_memory_equal(text, "question", 8);
    loopback_send(server, &source, "answer", 6);
    while (device->client->message_count == count)
        loopback_device_receive(device);
    assert_int_equal(memory_client_last(device->client).len, 6);
    assert_memory_equal(memory_client_last(device->client).data, "answer", 6);
}
