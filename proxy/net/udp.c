#define _GNU_SOURCE
#include "net/udp.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    /* Not a multiple of a page: buffers at the same offset in each page share cache sets. */
    BUFFER_STRIDE = 65536 + 192,
    CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint32_t)) +
                    CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)),
    OUT_ARENA_BYTES = 4 * 65536,
};

struct udp_in_buffers {
    struct mmsghdr messages[UDP_BATCH];
    struct iovec vectors[UDP_BATCH];
    struct sockaddr_storage names[UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_BATCH][CONTROL_BYTES];
    uint8_t data[UDP_BATCH][BUFFER_STRIDE];
};

struct udp_out_buffers {
    struct mmsghdr messages[UDP_BATCH];
    struct iovec vectors[UDP_BATCH];
    struct sockaddr_storage names[UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_BATCH][CONTROL_BYTES];
    int fds[UDP_BATCH];
    bool *failed[UDP_BATCH];
    counter *sent_bytes[UDP_BATCH];
    uint32_t count;
    size_t used_bytes;
    uint8_t arena[OUT_ARENA_BYTES];
};

static bool refuse_batches(struct err *err, const char *call)
{
    return err_set(err,
                   "%s: %s; a sandbox (seccomp, SystemCallFilter=, gVisor) does not let it use "
                   "recvmmsg and sendmmsg, and without them it would serve nobody: allow them",
                   call, strerror(errno));
}

/* Of no datagram: neither firewall nor network has a say. */
bool udp_try_batches(struct err *err)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t data[1];
    struct iovec vector = {data, sizeof(data)};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
    struct udp_socket probe = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (probe.fd < 0 || bind(probe.fd, (struct sockaddr *)&name, sizeof(name)) != 0) {
        err_set(err, "a socket of 127.0.0.1 to try recvmmsg with: %s", strerror(errno));
        udp_close(&probe);
        return false;
    }
    bool is_good = true;
    if (sendmmsg(probe.fd, &message, 0, MSG_DONTWAIT) < 0)
        is_good = refuse_batches(err, "sendmmsg");
    else if (recvmmsg(probe.fd, &message, 1, MSG_DONTWAIT, NULL) < 0 && errno != EAGAIN)
        is_good = refuse_batches(err, "recvmmsg");
    udp_close(&probe);
    return is_good;
}

bool udp_in_init(struct udp_in *in)
{
    *in = (struct udp_in){0};
    /* Not calloc: pages that no datagram has touched cost nothing. */
    in->buffers = malloc(sizeof(*in->buffers));
    if (in->buffers == NULL)
        return false;
    for (uint32_t i = 0; i < UDP_BATCH; i++) {
        in->buffers->vectors[i] = (struct iovec){in->buffers->data[i], UDP_DATAGRAM_MAX};
        in->buffers->messages[i] = (struct mmsghdr){0};
    }
    return true;
}

void udp_in_deinit(struct udp_in *in)
{
    free(in->buffers);
    in->buffers = NULL;
}

/* Reads the local address and the drop counter out of the control messages. */
static void read_control(struct msghdr *header, struct addr *to, uint32_t *drops)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            to->family = AF_INET;
            memcpy(to->ip, &info.ipi_addr, 4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            to->family = AF_INET6;
            memcpy(to->ip, &info.ipi6_addr, 16);
            if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
                to->scope_id = (uint32_t)info.ipi6_ifindex;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            memcpy(drops, CMSG_DATA(c), sizeof(*drops));
        }
    }
}

bool udp_receive(struct udp_socket *socket, struct udp_in *in)
{
    return udp_receive_some(socket, in, UDP_BATCH);
}

bool udp_receive_some(struct udp_socket *socket, struct udp_in *in, uint32_t max)
{
    struct udp_in_buffers *b = in->buffers;
    for (uint32_t i = 0; i < max; i++) {
        struct msghdr *header = &b->messages[i].msg_hdr;
        header->msg_name = &b->names[i];
        header->msg_namelen = sizeof(b->names[i]);
        header->msg_iov = &b->vectors[i];
        header->msg_iovlen = 1;
        header->msg_control = b->controls[i];
        header->msg_controllen = CONTROL_BYTES;
        header->msg_flags = 0;
    }
    in->count = 0;
    in->new_kernel_drops = 0;
    /* An error of an earlier send may be reported instead; it is read from the error queue. */
    int received = recvmmsg(socket->fd, b->messages, max, MSG_DONTWAIT, NULL);
    if (received <= 0)
        return false;

    uint32_t drops = socket->kernel_drops;
    for (int i = 0; i < received; i++) {
        struct udp_datagram *datagram = &in->at[in->count];
        *datagram = (struct udp_datagram){.data = b->data[i], .len = b->messages[i].msg_len};
        read_control(&b->messages[i].msg_hdr, &datagram->to, &drops);
        datagram->to.port = socket->bound.port;
        if (addr_from_sockaddr(&datagram->from, (struct sockaddr *)&b->names[i]))
            in->count++;
    }
    /* What has waited since before the socket was taken over tells of an earlier count. */
    if ((int32_t)(drops - socket->kernel_drops) > 0) {
        in->new_kernel_drops = drops - socket->kernel_drops;
        socket->kernel_drops = drops;
    }
    return true;
}

void udp_discard(const struct udp_socket *socket)
{
    /* More than any buffer holds: in a flood there is always a next one. */
    for (int i = 0; i < 65536 && recv(socket->fd, NULL, 0, MSG_DONTWAIT | MSG_TRUNC) >= 0; i++)
        continue;
}

bool udp_take_error(struct udp_socket *socket, struct addr *from, struct addr *to, int *error)
{
    struct sockaddr_storage name = {0};
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
    uint8_t data[1];
    struct iovec vector = {data, sizeof(data)};
    struct msghdr header = {.msg_name = &name,
                            .msg_namelen = sizeof(name),
                            .msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control)};
    if (recvmsg(socket->fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return false;
    uint32_t drops;
    *from = *to = (struct addr){0};
    (void)addr_from_sockaddr(to, (struct sockaddr *)&name);
    *error = 0;
    read_control(&header, from, &drops);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) {
            struct sock_extended_err extended;
            memcpy(&extended, CMSG_DATA(c), sizeof(extended));
            *error = (int)extended.ee_errno;
        }
    }
    return true;
}

bool udp_out_init(struct udp_out *out)
{
    out->buffers = malloc(sizeof(*out->buffers));
    if (out->buffers == NULL)
        return false;
    out->buffers->count = 0;
    out->buffers->used_bytes = 0;
    out->wait_ms = 0;
    out->queued = 0;
    out->error = 0;
    return true;
}

void udp_out_deinit(struct udp_out *out)
{
    free(out->buffers);
    out->buffers = NULL;
}

uint8_t *udp_out_room(struct udp_out *out, size_t size)
{
    struct udp_out_buffers *b = out->buffers;
    if (b->count == UDP_BATCH || OUT_ARENA_BYTES - b->used_bytes < size)
        udp_out_flush(out);
    return b->arena + b->used_bytes;
}

static size_t write_pktinfo(uint8_t *control, const struct addr *local)
{
    struct msghdr header = {.msg_control = control, .msg_controllen = CONTROL_BYTES};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    if (local->family == AF_INET) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->ip, 4);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    struct in6_pktinfo info = {.ipi6_ifindex = local->scope_id};
    memcpy(&info.ipi6_addr, local->ip, 16);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(c), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

bool udp_send_one(const struct udp_socket *socket, const struct addr *local, const struct addr *to,
                  const void *data, size_t len, int *error)
{
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
    struct sockaddr_storage name;
    struct iovec vector = {(void *)data, len};
    struct msghdr header = {.msg_name = &name,
                            .msg_namelen = addr_to_sockaddr(to, &name),
                            .msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = write_pktinfo(control, local)};
    /* The first error may belong to an earlier datagram, as in send_run. */
    bool is_sent = sendmsg(socket->fd, &header, MSG_DONTWAIT) >= 0 ||
                   sendmsg(socket->fd, &header, MSG_DONTWAIT) >= 0;
    *error = is_sent ? 0 : errno;
    return is_sent;
}

/* Each datagram begins on a cache line of its own. */
static void set_used(struct udp_out_buffers *b, size_t bytes)
{
    b->used_bytes = (bytes + 63) & ~(size_t)63;
    if (b->used_bytes > OUT_ARENA_BYTES)
        b->used_bytes = OUT_ARENA_BYTES;
}

uint64_t udp_out_queue(struct udp_out *out, const struct udp_socket *socket,
                       const struct addr *local, const struct addr *to, size_t len, bool *failed,
                       counter *sent_bytes)
{
    struct udp_out_buffers *b = out->buffers;
    uint32_t i = b->count++;

    b->vectors[i] = (struct iovec){b->arena + b->used_bytes, len};
    set_used(b, b->used_bytes + len);
    b->fds[i] = socket->fd;
    b->failed[i] = failed;
    b->sent_bytes[i] = sent_bytes;
    b->messages[i].msg_hdr = (struct msghdr){
        .msg_name = &b->names[i],
        .msg_namelen = addr_to_sockaddr(to, &b->names[i]),
        .msg_iov = &b->vectors[i],
        .msg_iovlen = 1,
    };
    if (local->family != 0) {
        b->messages[i].msg_hdr.msg_control = b->controls[i];
        b->messages[i].msg_hdr.msg_controllen = write_pktinfo(b->controls[i], local);
    }
    return ++out->queued;
}

bool udp_out_append(struct udp_out *out, uint64_t number, const void *data, size_t len,
                    size_t max_len)
{
    struct udp_out_buffers *b = out->buffers;
    if (b->count == 0 || number != out->queued)
        return false;
    struct iovec *last = &b->vectors[b->count - 1];
    size_t begin = (size_t)((uint8_t *)last->iov_base - b->arena);
    if (last->iov_len + len > max_len || begin + last->iov_len + len > OUT_ARENA_BYTES)
        return false;
    memcpy(b->arena + begin + last->iov_len, data, len);
    last->iov_len += len;
    set_used(b, begin + last->iov_len);
    return true;
}

/* False if there is no time to wait. Even a wait that ends at once costs something, so that there
 * is an end to them. */
static bool wait_for_room(struct udp_out *out, int fd)
{
    enum { STEP_MS = 10 };
    if (out->wait_ms < STEP_MS)
        return false;
    bool is_ready = poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, STEP_MS) > 0;
    out->wait_ms -= is_ready ? 1 : STEP_MS;
    return true;
}

static void count_sent(const struct udp_out_buffers *b, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        if (b->sent_bytes[i] != NULL)
            counter_add(b->sent_bytes[i], b->vectors[i].iov_len);
    }
}

/* Sends messages first..end-1, which share a socket. sendmmsg stops at a message that fails: that
 * one is marked and skipped. On a socket with an error queue the error may belong to an earlier
 * datagram (RFC 1122 section 4.1.3.3), so each is tried twice. */
static void send_run(struct udp_out *out, uint32_t first, uint32_t end)
{
    struct udp_out_buffers *b = out->buffers;
    bool is_second_try = false;
    while (first < end) {
        int sent = sendmmsg(b->fds[first], b->messages + first, end - first, MSG_DONTWAIT);
        if (sent > 0) {
            count_sent(b, first, first + (uint32_t)sent);
            first += (uint32_t)sent;
            is_second_try = false;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN && wait_for_room(out, b->fds[first]))
            continue;
        if (!is_second_try && errno != EAGAIN && errno != EMSGSIZE) {
            is_second_try = true;
            continue;
        }
        out->error = errno;
        if (b->failed[first] != NULL)
            *b->failed[first] = true;
        first++;
        is_second_try = false;
    }
}

void udp_out_flush(struct udp_out *out)
{
    struct udp_out_buffers *b = out->buffers;
    for (uint32_t first = 0; first < b->count;) {
        uint32_t end = first + 1;
        while (end < b->count && b->fds[end] == b->fds[first])
            end++;
        send_run(out, first, end);
        first = end;
    }
    b->count = 0;
    b->used_bytes = 0;
}
