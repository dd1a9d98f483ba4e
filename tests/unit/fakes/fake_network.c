#include "fakes/fake_network.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/fake_system.h"

enum {
    PLANS_MAX = 64,
    /* A datagram that is to be overtaken goes on without waiting for longer. */
    OVERTAKEN_DELAY_MS = 100,
    LONG_DELAY_MS = 5000,
};

struct flight { /* a packet on its way; twice if duplicated */
    const struct packet *packet;
    uint64_t due_ms, order;
    bool waits_for_next; /* until the next datagram of its direction was sent */
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
    struct plan plans[PLANS_MAX];
    uint32_t plan_count;
    uint64_t seed;
    unsigned lose, duplicate, overtake;
    uint32_t max_bytes;
    fake_network_fn on_arrival, on_sent;
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

uint8_t *fake_network_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

void fake_network_reset(uint64_t now_ms)
{
    for (uint32_t i = 0; i < net.packet_count; i++) {
        free(net.packets[i]->data);
        free(net.packets[i]);
    }
    free(net.packets);
    free(net.flights);
    net = (struct network){.now_ms = now_ms, .delay_ms = 1};
    fake_system_set_ms(now_ms);
}

void fake_network_set_handlers(fake_network_fn on_arrival, fake_network_fn on_sent, void *context)
{
    net.on_arrival = on_arrival;
    net.on_sent = on_sent;
    net.context = context;
}

void fake_network_plan(enum mishap mishap, enum direction direction, uint32_t number)
{
    assert(net.plan_count < PLANS_MAX);
    net.plans[net.plan_count++] = (struct plan){mishap, direction, number};
}

void fake_network_plan_random(uint64_t seed, unsigned lose, unsigned duplicate, unsigned overtake)
{
    net.seed = seed;
    net.lose = lose;
    net.duplicate = duplicate;
    net.overtake = overtake;
}

void fake_network_plan_nothing(void)
{
    net.plan_count = 0;
    net.lose = net.duplicate = net.overtake = 0;
}

void fake_network_set_delay_ms(uint64_t delay_ms)
{
    net.delay_ms = delay_ms;
}

void fake_network_set_max_bytes(uint32_t bytes)
{
    net.max_bytes = bytes;
}

/* ---- on the way ----------------------------------------------------------------------------- */

static enum mishap mishap_of(const struct packet *packet)
{
    for (uint32_t i = 0; i < net.plan_count; i++) {
        const struct plan *plan = &net.plans[i];
        if (plan->direction == packet->direction && plan->number == packet->number)
            return plan->mishap;
    }
    if (packet->direction != CLIENT_TO_GATE && packet->direction != GATE_TO_CLIENT)
        return NO_MISHAP;
    if (net.max_bytes != 0 && packet->len > net.max_bytes)
        return LOSE;
    if (net.lose + net.duplicate + net.overtake == 0)
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
                              .data = fake_network_copy(data, len),
                              .len = (uint32_t)len};
    net.packets = grow(net.packets, net.packet_count, &net.packet_capacity, sizeof(*net.packets));
    net.packets[net.packet_count++] = packet;
    return packet;
}

void fake_network_send(enum direction direction, const struct addr *from, const struct addr *to,
                       const void *data, size_t len)
{
    struct packet *packet = capture(direction, from, to, data, len);
    if (net.on_sent != NULL)
        net.on_sent(net.context, packet);
    enum mishap mishap = mishap_of(packet);
    uint64_t due_ms = net.now_ms + net.delay_ms;
    if (mishap == LOSE)
        return;
    if (mishap == OVERTAKE)
        take_off(packet, due_ms + OVERTAKEN_DELAY_MS, true);
    else
        take_off(packet, due_ms + (mishap == DELAY ? LONG_DELAY_MS : 0), false);
    if (mishap == DUPLICATE)
        take_off(packet, due_ms, false);
    release_overtaken(packet, due_ms);
}

uint64_t fake_network_next_due_ms(void)
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

void fake_network_deliver(uint64_t now_ms)
{
    const struct packet *packet;
    assert(now_ms >= net.now_ms);
    net.now_ms = now_ms;
    fake_system_set_ms(now_ms);
    while ((packet = land()) != NULL) {
        if (net.on_arrival != NULL)
            net.on_arrival(net.context, packet);
    }
}

uint32_t fake_network_captured(void)
{
    return net.packet_count;
}

const struct packet *fake_network_packet(uint32_t index)
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

uint32_t fake_network_count(enum direction direction, const struct addr *client)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < net.packet_count; i++)
        count += goes_that_way(net.packets[i], direction, client);
    return count;
}

const struct packet *fake_network_last(enum direction direction, const struct addr *client)
{
    for (uint32_t i = net.packet_count; i > 0; i--) {
        if (goes_that_way(net.packets[i - 1], direction, client))
            return net.packets[i - 1];
    }
    return NULL;
}
