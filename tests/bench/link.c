#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    FIRST_SOURCE = 0x7fc80001, /* 127.200.0.1: device 0 */
    OTHER_DESCRIPTORS = 32
};

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct in_addr source_of(uint32_t number)
{
    return (struct in_addr){htonl(FIRST_SOURCE + number)};
}

static void open_shared(struct link *link)
{
    link->fd = batch_open((struct in_addr){INADDR_ANY}, 0, BATCH_PKTINFO);
    struct timeval quiet = {.tv_usec = LINK_QUIET_MS * 1000};
    if (setsockopt(link->fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet) != 0) {
        fail("SO_RCVTIMEO");
    }
}

static void raise_limit(rlim_t descriptors)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail("getrlimit");
    }
    if (limit.rlim_max < descriptors) {
        fprintf(stderr,
                "load: a socket for each device: no more than %llu descriptors may be open\n",
                (unsigned long long)limit.rlim_max);
        exit(1);
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail("setrlimit");
    }
}

static void open_own(struct link *link)
{
    raise_limit(link->devices + OTHER_DESCRIPTORS);
    link->fd = epoll_create1(EPOLL_CLOEXEC);
    link->sockets = calloc(link->devices, sizeof *link->sockets);
    if (link->fd < 0 || !link->sockets) {
        fail("epoll_create1");
    }
    for (uint32_t i = 0; i < link->devices; i++) {
        int fd = batch_open(source_of(i), 0, BATCH_NONBLOCKING);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (connect(fd, (struct sockaddr *)&link->target, sizeof link->target) != 0 ||
            epoll_ctl(link->fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            fail("a device's socket");
        }
        link->sockets[i] = fd;
    }
}

void link_open(struct link *link)
{
    if (link->has_own_sockets) {
        open_own(link);
    } else {
        open_shared(link);
    }
    batch_in_init(&link->in);
    batch_out_init(&link->out, link->fd);
}

void link_close(struct link *link)
{
    link_flush(link);
    batch_in_deinit(&link->in);
    for (uint32_t i = 0; link->sockets && i < link->devices; i++) {
        close(link->sockets[i]);
    }
    free(link->sockets);
    link->sockets = NULL;
    close(link->fd);
}

static void send_alone(struct link *link, int fd, const void *data, size_t size)
{
    /* An error may belong to an earlier datagram: try twice. */
    if (send(fd, data, size, 0) < 0 && send(fd, data, size, 0) < 0) {
        link->errors++;
    }
}

void link_send(struct link *link, uint32_t number, const void *data, size_t size)
{
    if (size > LINK_OUT_BYTES) {
        fprintf(stderr, "load: a datagram of %zu bytes is more than %d\n", size, LINK_OUT_BYTES);
        exit(1);
    }
    if (link->sockets) {
        send_alone(link, link->sockets[number], data, size);
        return;
    }
    if (link->out.count == BATCH_SIZE) {
        link_flush(link);
    }
    uint8_t *kept = link->out_bytes[link->out.count]; /* the library reuses its buffer */
    memcpy(kept, data, size);
    batch_add(&link->out, &link->target, source_of(number), kept, size);
}

void link_flush(struct link *link)
{
    batch_flush(&link->out);
    link->errors += link->out.errors;
    link->out.errors = 0;
}

static void add_arrived(struct link *link, uint32_t number, const uint8_t *data, size_t size)
{
    link->arrived[link->count++] =
        (struct link_datagram){.number = number, .data = data, .size = size};
}

static bool receive_shared(struct link *link)
{
    bool came = batch_receive(&link->in, link->fd);
    for (unsigned i = 0; i < link->in.count; i++) {
        uint32_t number = ntohl(batch_local(&link->in, i).s_addr) - FIRST_SOURCE;
        if (number < link->devices) {
            add_arrived(link, number, link->in.vectors[i].iov_base, link->in.messages[i].msg_len);
        }
    }
    return came;
}

static bool receive_own(struct link *link)
{
    struct epoll_event events[BATCH_SIZE];
    int n = epoll_wait(link->fd, events, BATCH_SIZE, LINK_QUIET_MS);
    for (int i = 0; i < n; i++) {
        uint8_t *bytes = link->in.vectors[i].iov_base;
        uint32_t number = events[i].data.u32;
        ssize_t size = recv(link->sockets[number], bytes, BATCH_DATAGRAM_BYTES, 0);
        if (size >= 0) {
            add_arrived(link, number, bytes, (size_t)size);
        }
    }
    return n > 0;
}

bool link_receive(struct link *link)
{
    link->count = 0;
    return link->sockets ? receive_own(link) : receive_shared(link);
}

bool link_wait(struct link *link, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    struct pollfd one = {.fd = link->fd, .events = POLLIN};
    return ppoll(&one, 1, &timeout, NULL) > 0;
}

uint64_t link_kernel_drops(struct link *link)
{
    if (!link->sockets) {
        return batch_kernel_drops(link->fd);
    }
    uint64_t drops = 0;
    for (uint32_t i = 0; i < link->devices; i++) {
        drops += batch_kernel_drops(link->sockets[i]);
    }
    return drops;
}
