/* Devices and servers with sockets of their own on the loopback interface, for tests of real
 * workers. All fail the test if something does not come within LOOPBACK_LIMIT_MS. */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "gate/memory_client.h"

enum { LOOPBACK_LIMIT_MS = 20000 };

/* CLOCK_MONOTONIC. */
uint64_t loopback_clock_ms(void);

/* A UDP socket on a free port; the caller closes it. */
int loopback_open(struct addr *bound);
void loopback_send(int fd, const struct addr *to, const void *data, size_t len);
/* Waits for a datagram; returns its length. */
size_t loopback_receive(int fd, void *data, size_t size, struct addr *from);

struct loopback_device {
    int fd;
    struct addr addr, gate;
    struct memory_client *client;
};

/* Sends its first ClientHello; the device must stay where it is. */
void loopback_device_begin(struct loopback_device *device, const struct addr *gate);
/* The same until its session is up. */
void loopback_device_connect(struct loopback_device *device, const struct addr *gate);
/* Waits for one datagram, and acts on it. */
void loopback_device_receive(struct loopback_device *device);
/* Its question reaches the server, and the answer the device. */
void loopback_device_assert_echo(struct loopback_device *device, int server);
void loopback_device_free(struct loopback_device *device);

#endif
