#include "fakes/fake_udp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SOCKETS_MAX = 16,
    INBOX_MAX = 4096,
    ERRORS_MAX = UDP_BATCH * 2,
    OWN_BYTES = 8,
};

struct fake_datagram {
    struct addr from, to;
    const uint8_t *data; /* of the network's packet; NULL: in `own` */
    uint32_t len;
    uint8_t own[OWN_BYTES]; /* what a socket has sent to itself */
};

struct fake_socket {
    struct addr bound;
    bool is_open, is_backend;
    struct fake_datagram inbox[INBOX_MAX];
    uint32_t inbox_count;
};

/* All that the kernel has, in one process. */
static struct {
    struct fake_socket sockets[SOCKETS_MAX];
    uint32_t socket_count;
    bool is_refused[DIRECTION_COUNT];
    bool loses_own;
    struct addr errors_from[ERRORS_MAX], errors_to[ERRORS_MAX];
    int errors[ERRORS_MAX];
    uint32_t error_count;
    uint32_t kernel_drops;
} kernel;

void fake_udp_reset(void)
{
    kernel.socket_count = kernel.error_count = kernel.kernel_drops = 0;
    memset(kernel.is_refused, 0, sizeof(kernel.is_refused));
    kernel.loses_own = false;
}

void fake_udp_refuse(enum direction direction, bool is_refused)
{
    kernel.is_refused[direction] = is_refused;
}

void fake_udp_lose_own(bool is_lost)
{
    kernel.loses_own = is_lost;
}

void fake_udp_add_error(const struct addr *from, const struct addr *to, int error)
{
    assert(kernel.error_count < ERRORS_MAX);
    kernel.errors_from[kernel.error_count] = *from;
    kernel.errors_to[kernel.error_count] = *to;
    kernel.errors[kernel.error_count++] = error;
}

void fake_udp_add_kernel_drops(uint32_t drops)
{
    kernel.kernel_drops += drops;
}

static struct fake_socket *socket_for(const struct packet *packet)
{
    bool is_backend = packet->direction == BACKEND_TO_GATE;
    for (uint32_t i = 0; i < kernel.socket_count; i++) {
        struct fake_socket *s = &kernel.sockets[i];
        if (s->is_open && s->is_backend == is_backend && s->bound.port == packet->to.port &&
            (is_backend || addr_equal(&s->bound, &packet->to)))
            return s;
    }
    return NULL;
}

void fake_udp_put(const struct packet *packet)
{
    struct fake_socket *s = socket_for(packet);
    if (s == NULL)
        return;
    assert(s->inbox_count < INBOX_MAX);
    s->inbox[s->inbox_count++] = (struct fake_datagram){
        .from = packet->from, .to = packet->to, .data = packet->data, .len = packet->len};
}

/* ---- what udp.h declares -------------------------------------------------------------------- */

struct udp_in_buffers {
    uint8_t *data[UDP_BATCH];
};

struct udp_out_buffers {
    struct {
        const struct udp_socket *socket;
        struct addr local, to;
        uint8_t *data;
        size_t len;
        bool *failed;
        counter *sent_bytes;
    } queued[UDP_BATCH];
    uint32_t count;
    uint8_t *room;
    size_t room_size;
};

static void open_socket(struct udp_socket *socket, const struct addr *bound, bool is_backend)
{
    uint32_t fd = 0;
    while (fd < kernel.socket_count && kernel.sockets[fd].is_open)
        fd++;
    assert(fd < SOCKETS_MAX);
    if (fd == kernel.socket_count)
        kernel.socket_count++;
    struct fake_socket *s = &kernel.sockets[fd];
    s->bound = *bound;
    s->is_open = true;
    s->is_backend = is_backend;
    s->inbox_count = 0;
    *socket = (struct udp_socket){.fd = (int)fd, .bound = *bound};
}

bool udp_open_listener(struct udp_socket *socket, const struct addr *addr, struct err *err)
{
    (void)err;
    open_socket(socket, addr, false);
    return true;
}

bool udp_open_backend(struct udp_socket *socket, uint16_t port, bool is_first, struct err *err)
{
    (void)is_first;
    (void)err;
    if (port == 0)
        port = (uint16_t)(40000 + kernel.socket_count);
    struct addr any = {.family = AF_INET, .port = port};
    open_socket(socket, &any, true);
    return true;
}

void udp_close(struct udp_socket *socket)
{
    if (socket->fd >= 0)
        kernel.sockets[socket->fd].is_open = false;
    socket->fd = -1;
}

bool udp_in_init(struct udp_in *in)
{
    *in = (struct udp_in){.buffers = calloc(1, sizeof(struct udp_in_buffers))};
    return in->buffers != NULL;
}

static void empty_batch(struct udp_in *in)
{
    for (uint32_t i = 0; i < UDP_BATCH; i++) {
        free(in->buffers->data[i]);
        in->buffers->data[i] = NULL;
    }
    in->count = 0;
    in->new_kernel_drops = 0;
}

void udp_in_deinit(struct udp_in *in)
{
    if (in->buffers == NULL)
        return;
    empty_batch(in);
    free(in->buffers);
    in->buffers = NULL;
}

static void add_to_batch(struct udp_in *in, const struct addr *from, const struct addr *to,
                         const void *data, size_t len)
{
    uint8_t *copy = fake_network_copy(data, len);
    in->buffers->data[in->count] = copy;
    in->at[in->count++] =
        (struct udp_datagram){.from = *from, .to = *to, .data = copy, .len = (uint32_t)len};
}

void fake_udp_fill(struct udp_in *in, const struct addr *from, const struct addr *to,
                   const void *data, size_t len)
{
    empty_batch(in);
    add_to_batch(in, from, to, data, len);
}

bool udp_receive(struct udp_socket *socket, struct udp_in *in)
{
    struct fake_socket *s = &kernel.sockets[socket->fd];
    empty_batch(in);
    if (s->inbox_count == 0)
        return false;
    uint32_t taken = s->inbox_count < UDP_BATCH ? s->inbox_count : UDP_BATCH;
    for (uint32_t i = 0; i < taken; i++) {
        const struct fake_datagram *d = &s->inbox[i];
        add_to_batch(in, &d->from, &d->to, d->data != NULL ? d->data : d->own, d->len);
    }
    s->inbox_count -= taken;
    memmove(s->inbox, s->inbox + taken, s->inbox_count * sizeof(s->inbox[0]));
    in->new_kernel_drops = kernel.kernel_drops;
    kernel.kernel_drops = 0;
    return true;
}

void udp_discard(const struct udp_socket *socket)
{
    kernel.sockets[socket->fd].inbox_count = 0;
}

bool udp_take_error(struct udp_socket *socket, struct addr *from, struct addr *to, int *error)
{
    (void)socket;
    if (kernel.error_count == 0)
        return false;
    kernel.error_count--;
    *from = kernel.errors_from[kernel.error_count];
    *to = kernel.errors_to[kernel.error_count];
    *error = kernel.errors[kernel.error_count];
    return true;
}

bool udp_send_one(const struct udp_socket *socket, const struct addr *local, const struct addr *to,
                  const void *data, size_t len, int *error)
{
    struct fake_socket *s = &kernel.sockets[socket->fd];
    assert(s->is_backend && to->port == s->bound.port && len == OWN_BYTES);
    *error = 0;
    if (kernel.loses_own)
        return true;
    assert(s->inbox_count < INBOX_MAX);
    struct fake_datagram *datagram = &s->inbox[s->inbox_count++];
    *datagram = (struct fake_datagram){.from = *local, .to = *to, .len = OWN_BYTES};
    datagram->from.port = s->bound.port;
    memcpy(datagram->own, data, len);
    return true;
}

bool udp_out_init(struct udp_out *out)
{
    out->buffers = calloc(1, sizeof(*out->buffers));
    return out->buffers != NULL;
}

void udp_out_deinit(struct udp_out *out)
{
    struct udp_out_buffers *b = out->buffers;
    if (b == NULL)
        return;
    for (uint32_t i = 0; i < b->count; i++)
        free(b->queued[i].data);
    free(b->room);
    free(b);
    out->buffers = NULL;
}

uint8_t *udp_out_room(struct udp_out *out, size_t size)
{
    struct udp_out_buffers *b = out->buffers;
    assert(size <= UDP_DATAGRAM_MAX);
    if (b->count == UDP_BATCH)
        udp_out_flush(out);
    free(b->room);
    b->room = malloc(size > 0 ? size : 1);
    b->room_size = size;
    assert(b->room != NULL);
    return b->room;
}

uint64_t udp_out_queue(struct udp_out *out, const struct udp_socket *socket,
                       const struct addr *local, const struct addr *to, size_t len, bool *failed,
                       counter *sent_bytes)
{
    struct udp_out_buffers *b = out->buffers;
    assert(b->count < UDP_BATCH && b->room != NULL && len <= b->room_size);
    b->queued[b->count].socket = socket;
    b->queued[b->count].local = *local;
    b->queued[b->count].to = *to;
    b->queued[b->count].data = b->room;
    b->queued[b->count].len = len;
    b->queued[b->count].failed = failed;
    b->queued[b->count].sent_bytes = sent_bytes;
    b->count++;
    b->room = NULL;
    return ++out->queued;
}

bool udp_out_append(struct udp_out *out, uint64_t number, const void *data, size_t len,
                    size_t max_len)
{
    struct udp_out_buffers *b = out->buffers;
    if (b->count == 0 || number != out->queued || b->queued[b->count - 1].len + len > max_len)
        return false;
    size_t before = b->queued[b->count - 1].len;
    uint8_t *longer = realloc(b->queued[b->count - 1].data, before + len);
    assert(longer != NULL);
    memcpy(longer + before, data, len);
    b->queued[b->count - 1].data = longer;
    b->queued[b->count - 1].len = before + len;
    return true;
}

void udp_out_flush(struct udp_out *out)
{
    struct udp_out_buffers *b = out->buffers;
    uint32_t count = b->count;
    b->count = 0; /* a check that fails within leaves nothing to be freed twice */
    for (uint32_t i = 0; i < count; i++) {
        const struct fake_socket *s = &kernel.sockets[b->queued[i].socket->fd];
        enum direction direction = s->is_backend ? GATE_TO_BACKEND : GATE_TO_CLIENT;
        bool is_chosen = b->queued[i].local.family != 0; /* else by the kernel */
        struct addr from = is_chosen ? b->queued[i].local : s->bound;
        assert(s->is_open);
        from.port = s->bound.port;
        if (kernel.is_refused[direction]) {
            out->error = EINVAL;
            if (b->queued[i].failed != NULL)
                *b->queued[i].failed = true;
        } else {
            fake_network_send(direction, &from, &b->queued[i].to, b->queued[i].data,
                              b->queued[i].len);
            if (b->queued[i].sent_bytes != NULL)
                counter_add(b->queued[i].sent_bytes, b->queued[i].len);
        }
        free(b->queued[i].data);
    }
}
