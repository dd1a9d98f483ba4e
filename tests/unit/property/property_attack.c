/* What backends and attackers do. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "property/property_note.h"
#include "property/property_wire.h"
#include "property/property_world.h"

/* ---- backends ------------------------------------------------------------------------------- */

static size_t draw_size(struct world *world)
{
    return NOTE_MIN + world_draw(world, world_happens(world, 95) ? 400 : 12000);
}

/* Soon, or when the session may long be over. */
static uint64_t draw_delay_ms(struct world *world)
{
    if (world->is_calm || world_happens(world, 80))
        return 1;
    return 1 + world_draw(world, world_happens(world, 80) ? 100 : 40000);
}

static uint32_t listener_of_backend(const struct world *world, uint32_t source)
{
    const struct life *life = model_owner_of((struct model *)&world->model, source);
    return life != NULL ? life->listener : 0;
}

/* From a burst to a pause that is longer than any tombstone. */
static uint64_t draw_pace_ms(struct world *world)
{
    uint64_t pace_ms = world->gate->generation->config->gate.tombstone_ms / 40;
    for (int i = 0; i < 6 && world_happens(world, 60); i++)
        pace_ms *= 3;
    return pace_ms;
}

static void begin_observation(struct world *world, uint32_t listener, uint32_t source)
{
    struct world_observation *o = &world->observations[world_draw(world, WORLD_OBSERVATIONS)];
    if (o->source != 0)
        return;
    *o = (struct world_observation){.listener = listener,
                                    .source = source,
                                    .pace_ms = draw_pace_ms(world),
                                    .is_for_ever = world_happens(world, 70)};
    o->due_ms = world->gate->now_ms + world_draw(world, o->pace_ms);
}

void world_observe(struct world *world)
{
    for (int i = 0; i < WORLD_OBSERVATIONS; i++) {
        struct world_observation *o = &world->observations[i];
        if (o->source == 0 || o->due_ms > world->gate->now_ms)
            continue;
        world_note(world, o->listener, o->source, NOTE_MIN + world_draw(world, 60), 1);
        if (o->burst > 0)
            o->burst--;
        else if (world_happens(world, 3))
            o->burst = 1 + (uint32_t)world_draw(world, 100);
        o->due_ms = world->gate->now_ms + 1 + world_draw(world, o->burst > 0 ? 3 : 2 * o->pace_ms);
        if (!o->is_for_ever && world_draw(world, 100) == 0)
            o->source = 0;
    }
}

uint64_t world_next_observation_ms(const struct world *world)
{
    uint64_t next_ms = UINT64_MAX;
    for (int i = 0; i < WORLD_OBSERVATIONS; i++) {
        const struct world_observation *o = &world->observations[i];
        if (o->source != 0 && o->due_ms < next_ms)
            next_ms = o->due_ms;
    }
    return next_ms;
}

void world_send_before_session(struct world *world, const struct packet *packet)
{
    const struct model *model = &world->model;
    const struct origin *origin = &model->origins[packet->number];
    if (origin->life == NO_LIFE || model->lives[origin->life].state != LIFE_WITHOUT_SESSION ||
        !world_happens(world, 5))
        return;
    uint32_t next = model_next_source(model, steering_bucket_of_addr(&packet->from));
    world_note(world, model->lives[origin->life].listener, next, NOTE_MIN, 0);
}

void world_backend_receive(struct world *world, const struct packet *packet)
{
    uint32_t source = model_source_of(&packet->from);
    uint32_t listener = listener_of_backend(world, source);
    if (world_draw(world, 100) == 0)
        begin_observation(world, listener, source);
    if (!world_happens(world, world->chance_of_answer))
        return;
    world_note(world, listener, source, draw_size(world), draw_delay_ms(world));
    if (world_happens(world, 5))
        world_note(world, listener, source, draw_size(world), draw_delay_ms(world));
}

static uint32_t draw_source(struct world *world)
{
    const struct model *model = &world->model;
    if (world_happens(world, 60) && model->live_count > 0)
        return model->lives[model->live[world_draw(world, model->live_count)]].source;
    if (world_happens(world, 90) && model->slot_count > 0)
        return model->slots[world_draw(world, model->slot_count)].source;
    return 0x7f000000u + (uint32_t)world_draw(world, 0x30000);
}

/* Something that nobody asked for. */
void world_backend_act(struct world *world)
{
    static const uint8_t many[20000];
    uint32_t source = draw_source(world), listener = listener_of_backend(world, source);
    struct addr from = world->model.listeners[listener].config.backend;
    uint64_t delay_ms = draw_delay_ms(world);
    switch (world_draw(world, 8)) {
    case 0: world_send_from_backend(world, &from, source, NULL, 0, delay_ms); break;
    case 1: world_send_from_backend(world, &from, source, many, 17000, delay_ms); break;
    case 2:
        from.port++;
        world_send_from_backend(world, &from, source, many, 100, delay_ms);
        break;
    case 3:
        from.ip[3]++;
        world_send_from_backend(world, &from, source, many, 100, delay_ms);
        break;
    default: world_note(world, listener, source, draw_size(world), delay_ms); break;
    }
}

/* ---- attackers ------------------------------------------------------------------------------ */

/* Something that went that way, of late or at any time; NULL if luck fails. */
static const struct packet *draw_captured(struct world *world, enum direction direction)
{
    uint32_t count = fake_network_captured(), recent = count < 200 ? count : 200;
    for (int i = 0; count > 0 && i < 20; i++) {
        uint32_t index = world_happens(world, 60) ? count - 1 - (uint32_t)world_draw(world, recent)
                                                  : (uint32_t)world_draw(world, count);
        const struct packet *packet = fake_network_packet(index);
        if (packet->direction == direction && packet->len > 0)
            return packet;
    }
    return NULL;
}

/* Spoofed: of one who has a session, of anybody, or of a stranger. */
static struct addr draw_address(struct world *world)
{
    const struct model *model = &world->model;
    if (world_happens(world, 40) && model->live_count > 0)
        return model->lives[model->live[world_draw(world, model->live_count)]].addr;
    uint64_t range = world_happens(world, 70) ? WORLD_ADDRESSES : MODEL_ADDRESSES;
    return model->addrs[world_draw(world, range)];
}

static struct addr draw_listener(struct world *world)
{
    return gate_listener_addr(world->gate,
                              (uint32_t)world_draw(world, world->model.listener_count));
}

static void replay(struct world *world, const struct packet *packet)
{
    struct addr from = world_happens(world, 40) ? packet->from : draw_address(world);
    struct addr to = world_happens(world, 90) ? packet->to : draw_listener(world);
    struct origin origin = world->model.origins[packet->number];
    world_send(world, &origin, &from, &to, packet->data, packet->len, 1 + world_draw(world, 5));
}

/* A record in plaintext that could make a library do something: an alert, ChangeCipherSpec,
 * HelloRequest, an ACK. Returns its length. */
static size_t draw_plaintext(struct world *world, uint8_t *out)
{
    static const uint8_t bodies[][14] = {
        {21, 2, 2, 40}, {21, 2, 1, 0}, {21, 2, 2, 20}, {20, 1, 1}, {22, 12, 0}, {26, 2, 0, 0},
    };
    const uint8_t *body = bodies[world_draw(world, sizeof(bodies) / sizeof(bodies[0]))];
    const uint8_t header[13] = {
        body[0], 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, (uint8_t)world_draw(world, 20), 0, body[1]};
    memcpy(out, header, sizeof(header));
    memcpy(out + sizeof(header), body + 2, body[1]);
    return sizeof(header) + body[1];
}

static void replay_changed(struct world *world, const struct packet *packet)
{
    static uint8_t data[70000];
    size_t len = packet->len;
    struct addr from = world_happens(world, 70) ? packet->from : draw_address(world);
    struct origin origin = world->model.origins[packet->number];
    origin.is_changed = true;
    memcpy(data, packet->data, len);
    switch (world_draw(world, 5)) {
    case 0: len = world_draw(world, len); break;
    case 1: len += draw_plaintext(world, data + len); break;
    case 2:
        for (uint64_t more = 1 + world_draw(world, 40); more > 0; more--)
            data[len++] = (uint8_t)world_draw(world, 256);
        break;
    default:
        for (uint64_t flips = 1 + world_draw(world, 3); flips > 0; flips--)
            data[world_draw(world, len)] ^= (uint8_t)(1u << world_draw(world, 8));
        break;
    }
    world_send(world, &origin, &from, &packet->to, data, len, 1 + world_draw(world, 5));
}

/* The connection IDs in records toward that address. */
static size_t cid_bytes_at(const struct world *world, const struct addr *listener)
{
    for (uint32_t i = 0; i < world->model.listener_count; i++) {
        struct addr addr = gate_listener_addr(world->gate, i);
        if (addr_equal(&addr, listener))
            return world->model.listeners[i].config.cid_bytes;
    }
    return 0;
}

/* The datagram is one protected record, so it has one tag, at its end. */
static bool is_one_record(const struct world *world, const struct packet *packet)
{
    enum { SHORTEST = 20 }; /* that a library makes */
    struct wire_record record;
    return packet->len >= SHORTEST &&
           wire_read(packet->data, packet->len, cid_bytes_at(world, &packet->to), &record) &&
           record.is_protected && record.len == packet->len;
}

/* With the connection ID of a session, but not authentic: made of what a device has sent, since a
 * bit that is changed twice is as it was. */
static void forge(struct world *world, const struct packet *packet, const struct addr *from)
{
    static const struct origin nobody = {.life = NO_LIFE};
    const struct origin *origin = &world->model.origins[packet->number];
    uint8_t data[200];
    if (packet->len > sizeof(data) || !is_one_record(world, packet) || origin->life == NO_LIFE ||
        origin->is_changed)
        return;
    memcpy(data, packet->data, packet->len);
    world_damage(world, data, packet->len);
    world_send(world, &nobody, from, &packet->to, data, packet->len, 1);
}

/* So often that a suite may not bear it. */
static void forge_often(struct world *world, const struct packet *packet)
{
    for (int i = 0; i < 80; i++)
        forge(world, packet, &packet->from);
}

static void forge_from_elsewhere(struct world *world, const struct packet *packet)
{
    struct addr from = draw_address(world);
    forge(world, packet, &from);
}

/* A record of a session with a connection ID, but without it; often from where the session is. */
static void send_without_cid(struct world *world, const struct packet *packet)
{
    uint8_t data[2000];
    struct origin origin = {.life = NO_LIFE, .is_stripped = true};
    struct addr from = world_happens(world, 70) ? packet->from : draw_address(world);
    if (packet->len > sizeof(data) || !is_one_record(world, packet) ||
        world->model.origins[packet->number].message_count == 0)
        return;
    size_t len = wire_strip_cid(packet->data, packet->len, cid_bytes_at(world, &packet->to), data);
    if (len != 0)
        world_send(world, &origin, &from, &packet->to, data, len, 1);
}

static void send_of_nobody(struct world *world, const void *data, size_t len)
{
    static const struct origin nobody = {.life = NO_LIFE};
    struct addr from = draw_address(world), to = draw_listener(world);
    world_send(world, &nobody, &from, &to, data, len, 1);
}

/* A record that could be one of a session there, but for its keys. */
static void forge_record(struct world *world)
{
    static const uint8_t types[] = {20, 21, 22, 23, 25, 26};
    uint8_t data[1600];
    size_t body = 1 + world_draw(world, world_happens(world, 80) ? 100 : 1500), at;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)world_draw(world, 256);
    if (world_happens(world, 50)) {
        data[0] = types[world_draw(world, sizeof(types))];
        data[1] = 0xfe;
        data[2] = world_happens(world, 90) ? 0xfd : 0xff;
        memset(data + 3, 0, 7);
        data[4] = (uint8_t)world_draw(world, 3);
        at = 13;
        data[11] = (uint8_t)(body >> 8);
        data[12] = (uint8_t)body;
    } else {
        data[0] = (uint8_t)(0x2c | world_draw(world, 4));
        at = 5;
        data[3] = (uint8_t)(body >> 8);
        data[4] = (uint8_t)body;
    }
    send_of_nobody(world, data, at + body);
}

static void forge_plaintext(struct world *world)
{
    uint8_t data[64];
    send_of_nobody(world, data, draw_plaintext(world, data));
}

static void send_garbage(struct world *world)
{
    uint8_t data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)world_draw(world, 256);
    send_of_nobody(world, data, world_draw(world, sizeof(data)));
}

void world_attack(struct world *world)
{
    uint64_t what = world_draw(world, 100);
    const struct packet *packet = draw_captured(world, what < 92 ? CLIENT_TO_GATE : GATE_TO_CLIENT);
    if (packet == NULL || (what >= 60 && what < 92)) {
        if (what < 75)
            forge_record(world);
        else if (what < 84)
            forge_plaintext(world);
        else
            send_garbage(world);
    } else if (what < 35) {
        replay(world, packet);
    } else if (what < 60) {
        if (world_draw(world, 60) == 0)
            forge_often(world, packet);
        else if (world_happens(world, 25))
            forge_from_elsewhere(world, packet);
        else if (world_happens(world, 25))
            send_without_cid(world, packet);
        else
            replay_changed(world, packet);
    } else {
        send_of_nobody(world, packet->data, packet->len); /* its own words */
    }
}
