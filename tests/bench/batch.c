#include "batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_flag(int fd, int level, int option, const char *name)
{
    int on = 1;
    if (setsockopt(fd, level, option, &on, sizeof on) != 0) {
        fail(name);
    }
}

/* A thousand datagrams in flight must fit: the kernel books about 800 bytes for a small one. */
static void set_receive_buffer(int fd)
{
    int bytes = 4 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) != 0) {
        fail("SO_RCVBUF");
    }
}

int batch_open(struct in_addr address, uint16_t port, unsigned features)
{
    int type = SOCK_DGRAM | SOCK_CLOEXEC | (features & BATCH_NONBLOCKING ? SOCK_NONBLOCK : 0);
    int fd = socket(AF_INET, type, 0);
    if (fd < 0) {
        fail("socket");
    }
    set_receive_buffer(fd);
    if (features & BATCH_PKTINFO) {
        set_flag(fd, IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO");
    }
    if (features & BATCH_DROP_COUNTER) {
        set_flag(fd, SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL");
    }
    if (features & BATCH_REUSEPORT) {
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT");
    }
    if (features & BATCH_ICMP_ERRORS) {
        set_flag(fd, IPPROTO_IP, IP_RECVERR, "IP_RECVERR");
    }
    if (features & BATCH_ONLY_LOOPBACK &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") != 0) {
        fail("SO_BINDTODEVICE lo");
    }
    struct sockaddr_in bound = {
        .sin_family = AF_INET, .sin_addr = address, .sin_port = htons(port)};
    if (bind(fd, (struct sockaddr *)&bound, sizeof bound) != 0) {
        fail("bind");
    }
    return fd;
}

uint16_t batch_port(int fd)
{
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) {
        fail("getsockname");
    }
    return ntohs(bound.sin_port);
}

void batch_in_init(struct batch_in *in)
{
    *in = (struct batch_in){.bytes = malloc((size_t)BATCH_SIZE * BATCH_DATAGRAM_BYTES)};
    if (!in->bytes) {
        fail("malloc");
    }
    for (unsigned i = 0; i < BATCH_SIZE; i++) {
        in->vectors[i] = (struct iovec){.iov_base = in->bytes + (size_t)i * BATCH_DATAGRAM_BYTES,
                                        .iov_len = BATCH_DATAGRAM_BYTES};
        in->messages[i].msg_hdr = (struct msghdr){.msg_name = &in->from[i],
                                                  .msg_namelen = sizeof in->from[i],
                                                  .msg_iov = &in->vectors[i],
                                                  .msg_iovlen = 1,
                                                  .msg_control = in->controls[i].bytes,
                                                  .msg_controllen = BATCH_CONTROL_BYTES};
    }
}

void batch_in_deinit(struct batch_in *in)
{
    free(in->bytes);
    in->bytes = NULL;
}

void batch_out_init(struct batch_out *out, int fd)
{
    *out = (struct batch_out){.fd = fd};
    for (unsigned i = 0; i < BATCH_SIZE; i++) {
        out->messages[i].msg_hdr = (struct msghdr){.msg_name = &out->to[i],
                                                   .msg_namelen = sizeof out->to[i],
                                                   .msg_iov = &out->vectors[i],
                                                   .msg_iovlen = 1};
        struct cmsghdr *control = (struct cmsghdr *)out->controls[i].bytes;
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
}

bool batch_receive(struct batch_in *in, int fd)
{
    /* The kernel wrote the lengths it used over the lengths it may use. */
    for (unsigned i = 0; i < in->count; i++) {
        in->messages[i].msg_hdr.msg_namelen = sizeof in->from[i];
        in->messages[i].msg_hdr.msg_controllen = BATCH_CONTROL_BYTES;
    }
    int n = recvmmsg(fd, in->messages, BATCH_SIZE, MSG_WAITFORONE, NULL);
    in->count = n > 0 ? (unsigned)n : 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
        fail("recvmmsg");
    }
    return n > 0;
}

struct in_addr batch_local(struct batch_in *in, unsigned i)
{
    struct msghdr *header = &in->messages[i].msg_hdr;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            return info.ipi_addr;
        }
    }
    return (struct in_addr){.s_addr = INADDR_ANY};
}

void batch_add(struct batch_out *out, const struct sockaddr_in *to, struct in_addr source,
               const void *data, size_t size)
{
    if (out->count == BATCH_SIZE) {
        batch_flush(out);
    }
    unsigned i = out->count++;
    out->to[i] = *to;
    out->vectors[i] = (struct iovec){.iov_base = (void *)data, .iov_len = size};
    struct msghdr *header = &out->messages[i].msg_hdr;
    if (source.s_addr == INADDR_ANY) {
        header->msg_control = NULL;
        header->msg_controllen = 0;
        return;
    }
    header->msg_control = out->controls[i].bytes;
    header->msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {.ipi_spec_dst = source};
    memcpy(CMSG_DATA((struct cmsghdr *)out->controls[i].bytes), &info, sizeof info);
}

void batch_flush(struct batch_out *out)
{
    unsigned sent = 0;
    bool again = true; /* an error may belong to an earlier datagram: try each one twice */
    while (sent < out->count) {
        int n = sendmmsg(out->fd, out->messages + sent, out->count - sent, 0);
        out->calls++;
        if (n > 0) {
            sent += (unsigned)n;
            out->datagrams += (unsigned)n;
            again = true;
        } else if (again) {
            again = false;
        } else {
            out->errors++;
            sent++;
            again = true;
        }
    }
    out->count = 0;
}

uint64_t batch_kernel_drops(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0) {
        fail("SO_MEMINFO");
    }
    return info[SK_MEMINFO_DROPS];
}

unsigned batch_drain_errors(int fd)
{
    char data[64];
    char control[512];
    unsigned errors = 0;
    for (;;) {
        struct iovec vector = {.iov_base = data, .iov_len = sizeof data};
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof control};
        if (recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
            return errors;
        }
        errors++;
    }
}
