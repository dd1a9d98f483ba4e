/* The devices' side of the network: datagrams leave from the address of a device and come in for
 * one. Either all devices share one socket, so that one call moves datagrams of many and the server
 * sees large batches; or each has a socket of its own, and the server sees them as they come.
 * Single-threaded. */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include "batch.h"

enum {
    LINK_QUIET_MS = 20,   /* how long link_receive() waits */
    LINK_OUT_BYTES = 2048 /* one outgoing datagram; a flight's are below the MTU */
};

struct link_datagram {
    uint32_t number; /* of the device that it is for */
    const uint8_t *data;
    size_t size;
};

struct link {
    struct sockaddr_in target; /* the server */
    bool has_own_sockets;      /* each device has one */
    uint32_t devices;
    int fd;       /* readable when a datagram is there: the shared socket, or an epoll instance */
    int *sockets; /* owned, by number of the device; NULL: they share fd */
    unsigned count;
    struct link_datagram arrived[BATCH_SIZE]; /* valid until the next link_receive() */
    uint64_t errors;                          /* datagrams that the kernel refused */
    struct batch_in in;
    struct batch_out out;
    uint8_t out_bytes[BATCH_SIZE][LINK_OUT_BYTES];
};

/* Opens the sockets for target, has_own_sockets and devices, which stand in *link. Exits with a
 * message when the kernel refuses. */
void link_open(struct link *link);
void link_close(struct link *link);

/* Sends a datagram of this device: at once, or with the next link_flush() at the latest. */
void link_send(struct link *link, uint32_t number, const void *data, size_t size);
void link_flush(struct link *link);

/* Receives what is there, BATCH_SIZE datagrams at most; waits for the first. False: none came
 * within LINK_QUIET_MS. */
bool link_receive(struct link *link);

/* Waits until a datagram is there. False: none is. */
bool link_wait(struct link *link, uint64_t timeout_ns);

/* Datagrams that the kernel has dropped so far because a receive buffer was full. */
uint64_t link_kernel_drops(struct link *link);

#endif
