#include "fake_udp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fake_system.h"

enum {
    SOCKETS_MAX = 16,
    PLANS_MAX = 64,
    ERRORS_MAX = UDP_BATCH * 2,
    /* A datagram that is to be overtaken goes on without waiting for longer. */
    OVERTAKEN_DELAY_MS = 100,
};

struct flight { /* a packet on its way; twice if duplicated */
    const struct packet *packet;
    uint64_t due_ms, order;
    bool waits_for_next; /* until the next datagram of its direction was sent */
};

struct inbox {
    const struct packet **packets;
    uint32_t count, capacity;
};

struct fake_socket {
    struct addr bound;
    bool is_open, is_backend;
    struct inbox inbox;
};

struct plan {
    enum mishap mishap;
    enum direction direction;
    uint32_t number;
};

struct network {
    uint64_t now_ms, delay_ms, order;
    struct packet **packets;
    uint32_t packet_count, packet_capacity;
    uint32_t sent[DIRECTION_COUNT];
    struct flight *flights;
    uint32_t flight_count, flight_capacity;
    struct fake_socket sockets[SOCKETS_MAX];
    uint32_t socket_count;
    struct plan plans[PLANS_MAX];
    uint32_t plan_count;
    uint64_t seed;
    unsigned lose, duplicate, overtake;
    bool is_refused[DIRECTION_COUNT];
    struct addr errors_from[ERRORS_MAX];
    int errors[ERRORS_MAX];
    uint32_t error_count;
    uint32_t kernel_drops;
    fake_udp_arrival_fn on_arrival;
    fake_udp_sent_fn on_sent;
    void *context;
};

static struct network net;

/* One more element in a growing array; never fails. */
static void *grow(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(array, *capacity * size);
    assert(grown != NULL);
    return grown;
}

static uint8_t *copy_bytes(const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

void fake_udp_reset(uint64_t now_ms)
{
    for (uint32_t i = 0; i < net.packet_count; i++) {
        free(net.packets[i]->data);
        free(net.packets[i]);
    }
    free(net.packets);
    free(net.flights);
    for (uint32_t i = 0; i < net.socket_count; i++)
        free(net.sockets[i].inbox.packets);
    net = (struct network){.now_ms = now_ms, .delay_ms = 1};
    fake_system_set_ms(now_ms);
}

void fake_udp_set_handlers(fake_udp_arrival_fn on_arrival, fake_udp_sent_fn on_sent, void *context)
{
    net.on_arrival = on_arrival;
    net.on_sent = on_sent;
    net.context = context;
}

void fake_udp_plan(enum mishap mishap, enum direction direction, uint32_t number)
{
    assert(net.plan_count < PLANS_MAX);
    net.plans[net.plan_count++] = (struct plan){mishap, direction, number};
}

void fake_udp_plan_random(uint64_t seed, unsigned lose, unsigned duplicate, unsigned overtake)
{
    net.seed = seed;
    net.lose = lose;
    net.duplicate = duplicate;
    net.overtake = overtake;
}

void fake_udp_plan_nothing(void)
{
    net.plan_count = 0;
    net.lose = net.duplicate = net.overtake = 0;
}

void fake_udp_set_delay_ms(uint64_t delay_ms)
{
    net.delay_ms = delay_ms;
}

void fake_udp_refuse(enum direction direction, bool is_refused)
{
    net.is_refused[direction] = is_refused;
}

void fake_udp_add_error(const struct addr *local, int error)
{
    assert(net.error_count < ERRORS_MAX);
    net.errors_from[net.error_count] = *local;
    net.errors[net.error_count++] = error;
}

void fake_udp_add_kernel_drops(uint32_t drops)
{
    net.kernel_drops += drops;
}

/* ---- on the way ----------------------------------------------------------------------------- */

static enum mishap mishap_of(const struct packet *packet)
{
    for (uint32_t i = 0; i < net.plan_count; i++) {
        const struct plan *plan = &net.plans[i];
        if (plan->direction == packet->direction && plan->number == packet->number)
            return plan->mishap;
    }
    if ((packet->direction != CLIENT_TO_GATE && packet->direction != GATE_TO_CLIENT) ||
        net.lose + net.duplicate + net.overtake == 0)
        return NO_MISHAP;
    uint64_t percent = fake_system_random(&net.seed) % 100;
    if (percent < net.lose)
        return LOSE;
    if (percent < net.lose + net.duplicate)
        return DUPLICATE;
    return percent < net.lose + net.duplicate + net.overtake ? OVERTAKE : NO_MISHAP;
}

static void take_off(const struct packet *packet, uint64_t due_ms, bool waits_for_next)
{
    net.flights = grow(net.flights, net.flight_count, &net.flight_capacity, sizeof(*net.flights));
    net.flights[net.flight_count++] = (struct flight){packet, due_ms, net.order++, waits_for_next};
}

/* Those that were to be overtaken by the packet that has just been sent follow it. */
static void release_overtaken(const struct packet *by, uint64_t due_ms)
{
    for (uint32_t i = 0; i < net.flight_count; i++) {
        struct flight *flight = &net.flights[i];
        if (!flight->waits_for_next || flight->packet->direction != by->direction ||
            flight->packet == by)
            continue;
        flight->waits_for_next = false;
        flight->due_ms = due_ms;
        flight->order = net.order++;
    }
}

static struct packet *capture(enum direction direction, const struct addr *from,
                              const struct addr *to, const void *data, size_t len)
{
    struct packet *packet = malloc(sizeof(*packet));
    assert(packet != NULL);
    *packet = (struct packet){.direction = direction,
                              .number = net.sent[direction]++,
                              .sent_ms = net.now_ms,
                              .from = *from,
                              .to = *to,
                              .data = copy_bytes(data, len),
                              .len = (uint32_t)len};
    net.packets = grow(net.packets, net.packet_count, &net.packet_capacity, sizeof(*net.packets));
    net.packets[net.packet_count++] = packet;
    return packet;
}

void fake_udp_send(enum direction direction, const struct addr *from, const struct addr *to,
                   const void *data, size_t len)
{
    struct packet *packet = capture(direction, from, to, data, len);
    if (net.on_sent != NULL && (direction == GATE_TO_CLIENT || direction == GATE_TO_BACKEND))
        net.on_sent(net.context, packet);
    enum mishap mishap = mishap_of(packet);
    uint64_t due_ms = net.now_ms + net.delay_ms;
    if (mishap == LOSE) {
        packet->is_lost = true;
        return;
    }
    if (mishap == OVERTAKE)
        take_off(packet, due_ms + OVERTAKEN_DELAY_MS, true);
    else
        take_off(packet, due_ms, false);
    if (mishap == DUPLICATE)
        take_off(packet, due_ms, false);
    release_overtaken(packet, due_ms);
}

uint64_t fake_udp_next_due_ms(void)
{
    uint64_t due_ms = UINT64_MAX;
    for (uint32_t i = 0; i < net.flight_count; i++)
        due_ms = net.flights[i].due_ms < due_ms ? net.flights[i].due_ms : due_ms;
    return due_ms;
}

/* The next one that is due, earliest and first sent first; NULL if none is. */
static const struct packet *land(void)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < net.flight_count; i++) {
        const struct flight *f = &net.flights[i];
        if (f->due_ms > net.now_ms)
            continue;
        if (best == UINT32_MAX || f->due_ms < net.flights[best].due_ms ||
            (f->due_ms == net.flights[best].due_ms && f->order < net.flights[best].order))
            best = i;
    }
    if (best == UINT32_MAX)
        return NULL;
    const struct packet *packet = net.flights[best].packet;
    net.flights[best] = net.flights[--net.flight_count];
    return packet;
}

static struct fake_socket *socket_for(const struct packet *packet)
{
    bool is_backend = packet->direction == BACKEND_TO_GATE;
    for (uint32_t i = 0; i < net.socket_count; i++) {
        struct fake_socket *s = &net.sockets[i];
        if (s->is_open && s->is_backend == is_backend && s->bound.port == packet->to.port &&
            (is_backend || addr_equal(&s->bound, &packet->to)))
            return s;
    }
    return NULL;
}

void fake_udp_deliver(uint64_t now_ms)
{
    const struct packet *packet;
    assert(now_ms >= net.now_ms);
    net.now_ms = now_ms;
    fake_system_set_ms(now_ms);
    while ((packet = land()) != NULL) {
        if (packet->direction == GATE_TO_CLIENT || packet->direction == GATE_TO_BACKEND) {
            if (net.on_arrival != NULL)
                net.on_arrival(net.context, packet);
            continue;
        }
        struct fake_socket *s = socket_for(packet);
        if (s == NULL)
            continue;
        struct inbox *inbox = &s->inbox;
        inbox->packets =
            grow(inbox->packets, inbox->count, &inbox->capacity, sizeof(*inbox->packets));
        inbox->packets[inbox->count++] = packet;
    }
}

uint32_t fake_udp_captured(void)
{
    return net.packet_count;
}

const struct packet *fake_udp_packet(uint32_t index)
{
    assert(index < net.packet_count);
    return net.packets[index];
}

static bool goes_that_way(const struct packet *packet, enum direction direction,
                          const struct addr *client)
{
    const struct addr *device = direction == CLIENT_TO_GATE ? &packet->from : &packet->to;
    return packet->direction == direction && (client == NULL || addr_equal(device, client));
}

uint32_t fake_udp_count(enum direction direction, const struct addr *client)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < net.packet_count; i++)
        count += goes_that_way(net.packets[i], direction, client);
    return count;
}

const struct packet *fake_udp_last(enum direction direction, const struct addr *client)
{
    for (uint32_t i = net.packet_count; i > 0; i--) {
        if (goes_that_way(net.packets[i - 1], direction, client))
            return net.packets[i - 1];
    }
    return NULL;
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
    } queued[UDP_BATCH];
    uint32_t count;
    uint8_t *room;
    size_t room_size;
};

static void open_socket(struct udp_socket *socket, const struct addr *bound, bool is_backend)
{
    assert(net.socket_count < SOCKETS_MAX);
    net.sockets[net.socket_count] =
        (struct fake_socket){.bound = *bound, .is_open = true, .is_backend = is_backend};
    *socket = (struct udp_socket){.fd = (int)net.socket_count++, .bound = *bound};
}

bool udp_open_listener(struct udp_socket *socket, const struct addr *addr, struct err *err)
{
    (void)err;
    open_socket(socket, addr, false);
    return true;
}

bool udp_open_backend(struct udp_socket *socket, struct err *err)
{
    (void)err;
    struct addr any = {.family = AF_INET, .port = (uint16_t)(40000 + net.socket_count)};
    open_socket(socket, &any, true);
    return true;
}

void udp_close(struct udp_socket *socket)
{
    if (socket->fd >= 0)
        net.sockets[socket->fd].is_open = false;
    socket->fd = -1;
}

bool udp_can_steer(struct err *err)
{
    return err_set(err, "no kernel in memory");
}

bool udp_steer(struct udp_socket *first, uint32_t worker_count, struct err *err)
{
    (void)first;
    (void)worker_count;
    return err_set(err, "no kernel in memory");
}

uint32_t udp_worker_of(const struct addr *from, uint32_t worker_count)
{
    return from->port % worker_count;
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
    uint8_t *copy = copy_bytes(data, len);
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
    struct inbox *inbox = &net.sockets[socket->fd].inbox;
    empty_batch(in);
    if (inbox->count == 0)
        return false;
    uint32_t taken = inbox->count < UDP_BATCH ? inbox->count : UDP_BATCH;
    for (uint32_t i = 0; i < taken; i++) {
        const struct packet *packet = inbox->packets[i];
        add_to_batch(in, &packet->from, &packet->to, packet->data, packet->len);
    }
    inbox->count -= taken;
    memmove(inbox->packets, inbox->packets + taken, inbox->count * sizeof(*inbox->packets));
    in->new_kernel_drops = net.kernel_drops;
    net.kernel_drops = 0;
    return true;
}

bool udp_take_error(struct udp_socket *socket, struct addr *from, int *error)
{
    (void)socket;
    if (net.error_count == 0)
        return false;
    net.error_count--;
    *from = net.errors_from[net.error_count];
    *error = net.errors[net.error_count];
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

void udp_out_queue(struct udp_out *out, const struct udp_socket *socket, const struct addr *local,
                   const struct addr *to, size_t len, bool *failed)
{
    struct udp_out_buffers *b = out->buffers;
    assert(b->count < UDP_BATCH && b->room != NULL && len <= b->room_size);
    b->queued[b->count].socket = socket;
    b->queued[b->count].local = *local;
    b->queued[b->count].to = *to;
    b->queued[b->count].data = b->room;
    b->queued[b->count].len = len;
    b->queued[b->count].failed = failed;
    b->count++;
    b->room = NULL;
}

void udp_out_flush(struct udp_out *out)
{
    struct udp_out_buffers *b = out->buffers;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct fake_socket *s = &net.sockets[b->queued[i].socket->fd];
        enum direction direction = s->is_backend ? GATE_TO_BACKEND : GATE_TO_CLIENT;
        struct addr from = b->queued[i].local;
        assert(s->is_open);
        from.port = s->bound.port;
        if (!net.is_refused[direction])
            fake_udp_send(direction, &from, &b->queued[i].to, b->queued[i].data, b->queued[i].len);
        else if (b->queued[i].failed != NULL)
            *b->queued[i].failed = true;
        free(b->queued[i].data);
    }
    b->count = 0;
}
