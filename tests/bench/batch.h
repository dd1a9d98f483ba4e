/* UDP in batches for the three bench programs: one system call moves up to BATCH_SIZE datagrams,
 * each with its own peer and its own local address. IPv4 only. Single-threaded. */
#ifndef BENCH_BATCH_H
#define BENCH_BATCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    BATCH_SIZE = 64,
    BATCH_DATAGRAM_BYTES = 65536, /* as the gate: the largest UDP datagram arrives whole */
    BATCH_CONTROL_BYTES = 64      /* packet info and the kernel's drop counter */
};

/* Features of a socket, or-ed together. */
enum {
    BATCH_PKTINFO = 1 << 0,      /* local address of each datagram */
    BATCH_DROP_COUNTER = 1 << 1, /* SO_RXQ_OVFL */
    BATCH_REUSEPORT = 1 << 2,
    BATCH_ONLY_LOOPBACK = 1 << 3,
    BATCH_ICMP_ERRORS = 1 << 4,
    BATCH_NONBLOCKING = 1 << 5
};

struct batch_control {
    _Alignas(struct cmsghdr) unsigned char bytes[BATCH_CONTROL_BYTES];
};

/* Received datagrams, valid until the next batch_receive(). */
struct batch_in {
    unsigned count;
    struct mmsghdr messages[BATCH_SIZE];
    struct iovec vectors[BATCH_SIZE];
    struct sockaddr_in from[BATCH_SIZE];
    struct batch_control controls[BATCH_SIZE];
    uint8_t *bytes; /* owned: BATCH_SIZE buffers of BATCH_DATAGRAM_BYTES */
};

/* Datagrams to be sent. Borrows their bytes until batch_flush(). */
struct batch_out {
    int fd;
    unsigned count;
    uint64_t datagrams, calls, errors; /* sent, system calls, refused by the kernel */
    struct mmsghdr messages[BATCH_SIZE];
    struct iovec vectors[BATCH_SIZE];
    struct sockaddr_in to[BATCH_SIZE];
    struct batch_control controls[BATCH_SIZE];
};

/* Opens a socket bound to the address. Exits with a message when the kernel refuses. */
int batch_open(struct in_addr address, uint16_t port, unsigned features);

/* The port the socket is bound to, host byte order. */
uint16_t batch_port(int fd);

void batch_in_init(struct batch_in *in);
void batch_in_deinit(struct batch_in *in);
void batch_out_init(struct batch_out *out, int fd);

/* Receives what is there, up to BATCH_SIZE. False if nothing came (would block, time limit,
 * signal). A blocking socket waits for the first datagram only. */
bool batch_receive(struct batch_in *in, int fd);

/* Our own address that datagram i was sent to; INADDR_ANY if the socket has no BATCH_PKTINFO. */
struct in_addr batch_local(struct batch_in *in, unsigned i);

/* Queues one datagram; a full batch is flushed first. source INADDR_ANY: the kernel chooses. */
void batch_add(struct batch_out *out, const struct sockaddr_in *to, struct in_addr source,
               const void *data, size_t size);

/* Sends what is queued. A datagram the kernel refuses is skipped and counted. */
void batch_flush(struct batch_out *out);

/* Datagrams that the kernel has dropped so far because the socket's receive buffer was full. */
uint64_t batch_kernel_drops(int fd);

/* Empties the socket's error queue; returns how many errors were there. */
unsigned batch_drain_errors(int fd);

#endif
