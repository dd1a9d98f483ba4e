/* What the devices do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_keys.h"
#include "property/property_note.h"
#include "property/property_world.h"

/* How devices authenticate, by index of WORLD_KINDS, and whether they want connection IDs.
 * Certificates cost time: few have them. */
static const struct {
    const char *name;
    bool has_cid;
    uint8_t cid_bytes; /* of the device's own */
    bool wants_ticket; /* in DTLS 1.3 all get one */
} kinds[WORLD_KINDS] = {
    {"1.2 psk ccm-8", false, 0, false},
    {"1.2 psk gcm", false, 0, true},
    {"1.3 psk", false, 0, false},
    {"1.3 psk ccm-8", false, 0, false},
    {"1.3 psk, large hello", false, 0, false},
    {"1.2 psk ccm-8", true, 0, false},
    {"1.2 psk ccm-8", true, 1, true},
    {"1.2 psk gcm", true, 8, false},
    {"1.3 psk", true, 0, false},
    {"1.3 psk", true, 4, false},
    {"1.3 psk ccm-8", true, 32, false},
    {"1.3 psk, large hello", true, 0, false},
    {"1.2 certificate", false, 0, false},
    {"1.3 certificate", false, 0, false},
    {"1.2 certificate", true, 0, true},
    {"1.3 certificate", true, 2, false},
};
enum {
    PSK_KINDS = 12,
    IMPOSTORS = 3,
    PATIENCE = 6, /* messages without an answer before a device begins anew */
    KEY_CHANGES_MAX =
        2, /* in a life: the low bits of epochs 3 to 5 tell them from the handshake's */
};

static struct memory_client *client_of(const struct world *world, uint32_t device)
{
    return world->gate->devices[device].client;
}

static struct life *life_of(struct world *world, uint32_t device)
{
    return &world->model.lives[world->devices[device].life];
}

/* ---- what a device sends -------------------------------------------------------------------- */

/* The origin's life and order are filled in. */
static void send_datagram(struct world_device *d, struct origin origin, const uint8_t *data,
                          size_t len)
{
    struct world *world = d->world;
    struct life *life = &world->model.lives[d->life];
    const struct device *device = &world->gate->devices[d - world->devices];
    origin.life = d->life;
    origin.order = life->sent_datagrams;
    life->sent_datagrams += origin.message_count > 1 ? origin.message_count : 1;
    uint64_t delay_ms = world->usual_delay_ms + d->lag_ms;
    if (!world->is_calm && world_happens(world, 5))
        delay_ms += world_draw(world, world_happens(world, 10) ? 3000 : 30);
    world_send(world, &origin, &device->addr, &device->to, data, len, delay_ms);
}

static void on_client_sends(void *context, const uint8_t *datagram, size_t len)
{
    struct world_device *d = context;
    if (!d->is_gathering) {
        send_datagram(d, (struct origin){0}, datagram, len);
        return;
    }
    assert_true(d->part_count < WORLD_PARTS_MAX);
    d->parts[d->part_count].data = fake_network_copy(datagram, len);
    d->parts[d->part_count++].len = len;
}

static void forget_parts(struct world_device *d)
{
    for (uint32_t i = 0; i < d->part_count; i++)
        free(d->parts[i].data);
    d->part_count = 0;
    d->is_gathering = false;
}

/* Each part is a datagram. The origin is that of the last one: the library may have had something
 * to say of its own before. */
static void send_parts(struct world_device *d, struct origin origin)
{
    for (uint32_t i = 0; i < d->part_count; i++)
        send_datagram(d, i + 1 == d->part_count ? origin : (struct origin){0}, d->parts[i].data,
                      d->parts[i].len);
    forget_parts(d);
}

static size_t append(uint8_t *datagram, size_t at, size_t room, const uint8_t *data, size_t len)
{
    assert_true(at + len <= room);
    memcpy(datagram + at, data, len);
    return at + len;
}

/* All records in one datagram, a message each. On its way one of them may be damaged, or a forged
 * one set before it. */
static void send_bundle(struct world_device *d, struct origin origin)
{
    struct world *world = d->world;
    uint8_t datagram[8192];
    size_t len = 0;
    uint64_t what = world_draw(world, 3), which = world_draw(world, d->part_count);
    if (d->part_count != origin.message_count)
        what = 0;
    for (uint32_t i = 0; i < d->part_count; i++) {
        bool is_chosen = i == which && what != 0;
        if (is_chosen) {
            len = append(datagram, len, sizeof(datagram), d->parts[i].data, d->parts[i].len);
            world_damage(world, datagram, len);
        }
        if (is_chosen && what == 1)
            origin.damaged = (uint8_t)(1u << i);
        else
            len = append(datagram, len, sizeof(datagram), d->parts[i].data, d->parts[i].len);
    }
    send_datagram(d, origin, datagram, len);
    forget_parts(d);
}

static void write_message(struct world *world, uint32_t device, size_t len)
{
    uint8_t data[16384];
    struct life *life = life_of(world, device);
    struct note note = {false, world->devices[device].life, life->sent_messages++};
    note_write(&note, data, len);
    if (!memory_client_send(client_of(world, device), data, len))
        fail_msg("the library of a device refuses %zu bytes", len);
}

static size_t draw_size(struct world *world)
{
    if (world_happens(world, 90))
        return NOTE_MIN + world_draw(world, 200);
    return NOTE_MIN + world_draw(world, world_happens(world, 90) ? 1400 : 15000);
}

static bool can_speak(struct world *world, uint32_t device, uint32_t messages)
{
    return world->devices[device].address != NO_ADDRESS &&
           client_of(world, device)->state == CLIENT_UP &&
           life_of(world, device)->sent_messages + messages <= MODEL_MESSAGES_MAX;
}

bool world_device_speak(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    if (!can_speak(world, device, 1))
        return false;
    d->is_gathering = true;
    write_message(world, device, draw_size(world));
    uint32_t message = life_of(world, device)->sent_messages - 1;
    send_parts(d, (struct origin){.first_message = (uint16_t)message, .message_count = 1});
    d->unanswered++;
    return true;
}

static void speak_in_bundle(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    uint32_t count = 2 + (uint32_t)world_draw(world, 3);
    if (!can_speak(world, device, count))
        return;
    uint32_t first = life_of(world, device)->sent_messages;
    d->is_gathering = true;
    for (uint32_t i = 0; i < count; i++)
        write_message(world, device, NOTE_MIN + world_draw(world, 300));
    send_bundle(
        d, (struct origin){.first_message = (uint16_t)first, .message_count = (uint16_t)count});
}

/* A record of another device stands behind it, and is to be dropped (RFC 9147 section 4). */
static void speak_before_another(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    uint32_t other = (uint32_t)world_draw(world, WORLD_DEVICES);
    struct world_device *o = &world->devices[other];
    uint8_t datagram[8192];
    size_t len = 0;
    if (other == device || !can_speak(world, device, 1) || !can_speak(world, other, 1))
        return;
    d->is_gathering = o->is_gathering = true;
    write_message(world, device, NOTE_MIN + world_draw(world, 300));
    write_message(world, other, NOTE_MIN + world_draw(world, 300));
    for (uint32_t i = 0; i < d->part_count; i++)
        len = append(datagram, len, sizeof(datagram), d->parts[i].data, d->parts[i].len);
    for (uint32_t i = 0; i < o->part_count; i++)
        len = append(datagram, len, sizeof(datagram), o->parts[i].data, o->parts[i].len);
    life_of(world, other)->sent_datagrams += o->part_count;
    const struct origin origin = {
        .first_message = (uint16_t)(life_of(world, device)->sent_messages - 1),
        .message_count = 1,
        .has_rider = true,
        .rider = o->life,
        .rider_order = life_of(world, other)->sent_datagrams - 1,
        .rider_message = (uint16_t)(life_of(world, other)->sent_messages - 1),
    };
    send_datagram(d, origin, datagram, len);
    forget_parts(d);
    forget_parts(o);
}

void world_device_close(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    if (d->address == NO_ADDRESS || client_of(world, device)->state != CLIENT_UP)
        return;
    d->is_gathering = true;
    memory_client_close(client_of(world, device));
    send_parts(d, (struct origin){.is_close = true});
}

static void seal_and_send(struct world *world, uint32_t device, struct origin origin, int type,
                          const uint8_t *data, size_t len)
{
    uint8_t record[200];
    size_t record_len =
        memory_client_seal(client_of(world, device), type, data, len, record, sizeof(record));
    send_datagram(&world->devices[device], origin, record, record_len);
}

/* DTLS 1.2: for new keys. */
static void ask_for_renegotiation(struct world *world, uint32_t device)
{
    static const uint8_t hello[64] = {1, 0, 0, 52, [11] = 52, 0xfe, 0xfd};
    if (life_of(world, device)->kind->version == VERSION_1_2)
        seal_and_send(world, device, (struct origin){0}, 22, hello, sizeof(hello));
}

static void send_fatal_alert(struct world *world, uint32_t device)
{
    static const uint8_t internal_error[] = {2, 80};
    seal_and_send(world, device, (struct origin){.is_alert = true}, 21, internal_error,
                  sizeof(internal_error));
}

/* DTLS 1.3: its records are of the next epoch as soon as the gate has acknowledged that. */
static void change_keys(struct world *world, uint32_t device)
{
    struct life *life = life_of(world, device);
    if (life->kind->version != VERSION_1_3 || life->key_changes == KEY_CHANGES_MAX)
        return;
    life->key_changes++;
    world->key_changes++;
    memory_client_update_keys(client_of(world, device), world->gate->now_ms);
}

/* ---- where a device is ---------------------------------------------------------------------- */

static void leave_address(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    if (d->address != NO_ADDRESS)
        world->holders[d->address] = WORLD_DEVICES;
    d->address = NO_ADDRESS;
}

/* Behind the NAT: any address that nobody has at the moment. */
static void take_address(struct world *world, uint32_t device)
{
    uint32_t address = (uint32_t)world_draw(world, WORLD_ADDRESSES);
    while (world->holders[address] != WORLD_DEVICES)
        address = (address + 1) % WORLD_ADDRESSES;
    leave_address(world, device);
    world->holders[address] = device;
    world->devices[device].address = address;
    world->gate->devices[device].addr = world->model.addrs[address];
}

/* The NAT forgot it. What it sent before may arrive after what it sends from the new address. */
static void move(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    if (world_happens(world, 30)) {
        d->lag_ms = 1 + world_draw(world, 20);
        world_device_speak(world, device);
        d->lag_ms = 0;
    }
    take_address(world, device);
    world_device_speak(world, device);
}

/* A device with a connection ID that sleeps does not mind what becomes of its address. */
static void fall_asleep(struct world *world, uint32_t device)
{
    leave_address(world, device);
    world->devices[device].is_asleep = true;
}

static void wake(struct world *world, uint32_t device)
{
    take_address(world, device);
    world->devices[device].is_asleep = false;
    world_device_speak(world, device);
}

/* ---- on and off ----------------------------------------------------------------------------- */

static uint32_t draw_kind(struct world *world)
{
    if (world_happens(world, 85))
        return (uint32_t)world_draw(world, PSK_KINDS);
    return PSK_KINDS + (uint32_t)world_draw(world, WORLD_KINDS - PSK_KINDS);
}

static struct memory_client *new_client(struct world *world, uint32_t device, uint32_t kind)
{
    struct world_device *d = &world->devices[device];
    struct memory_client *client =
        memory_client_new(&d->kinds[d->psk][kind], gate_keys(), on_client_sends, d);
    assert_non_null(client);
    return client;
}

/* One that is there. */
static uint32_t draw_listener(struct world *world)
{
    uint32_t listener = (uint32_t)world_draw(world, WORLD_LISTENERS);
    while (!world->model.listeners[listener].is_there)
        listener = (listener + 1) % WORLD_LISTENERS;
    return listener;
}

static void forget_earlier(struct world_device *d)
{
    memory_client_free_session(d->earlier);
    d->earlier = NULL;
}

void world_forget_devices(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_DEVICES; i++)
        forget_earlier(&world->devices[i]);
}

/* Some devices have a place where a session outlives a boot. */
static void keep_for_later(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    struct memory_client *client = client_of(world, device);
    if (client->state != CLIENT_UP || !world_happens(world, 60))
        return;
    struct WOLFSSL_SESSION *session = memory_client_session(client);
    if (session == NULL)
        return;
    forget_earlier(d);
    d->earlier = session;
    d->earlier_kind = (uint32_t)(client->kind - d->kinds[0]) % WORLD_KINDS;
    /* The gate may have refused it when the handshake was complete. */
    const struct life *life = life_of(world, device);
    d->earlier_key = life->key != NULL          ? life->key
                     : life->ticket_key != NULL ? life->ticket_key
                                                : life->kind->key;
}

/* It knows nothing of an earlier session, unless it resumes one; perhaps the same one again. */
static void boot(struct world *world, uint32_t device)
{
    struct world_device *d = &world->devices[device];
    struct device *at = &world->gate->devices[device];
    keep_for_later(world, device);
    bool is_resuming = d->earlier != NULL && world_happens(world, 70);
    uint32_t kind = is_resuming ? d->earlier_kind : draw_kind(world);
    uint32_t listener = draw_listener(world);
    bool is_impostor = device < IMPOSTORS && kind < PSK_KINDS;
    uint32_t life = model_add_life(&world->model, &d->kinds[d->psk][kind], listener, is_impostor);
    if (life == NO_LIFE)
        return;
    if (d->address == NO_ADDRESS)
        take_address(world, device);
    memory_client_free(at->client);
    d->life = life;
    d->unanswered = 0;
    d->is_asleep = false;
    at->client = new_client(world, device, kind);
    at->to = gate_listener_addr(world->gate, listener);
    if (is_resuming && !memory_client_resume(at->client, d->earlier))
        forget_earlier(d);
    if (d->earlier != NULL)
        life_of(world, device)->ticket_key = d->earlier_key;
    memory_client_connect(at->client, world->gate->now_ms);
}

static void boot_in_anger(struct world *world, uint32_t device)
{
    send_fatal_alert(world, device);
    boot(world, device);
}

static void switch_off(struct world *world, uint32_t device)
{
    client_of(world, device)->is_deaf = true;
    leave_address(world, device);
}

static void make_kind(struct world_device *d, uint32_t device, uint32_t psk, uint32_t k)
{
    struct client_kind *kind = &d->kinds[psk][k];
    *kind = *gate_kind(kinds[k].name);
    kind->has_cid = kinds[k].has_cid;
    kind->cid_bytes = kinds[k].cid_bytes;
    kind->repeat_max_ms = 8000;
    kind->wants_ticket = kinds[k].wants_ticket;
    if (k < PSK_KINDS) {
        kind->identity = d->identity;
        kind->key = device < IMPOSTORS ? "fedcba9876543210" : world_psks[psk];
    }
}

void world_add_devices(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_DEVICES; i++) {
        struct world_device *d = &world->devices[i];
        struct device *at = &world->gate->devices[i];
        d->world = world;
        d->life = NO_LIFE;
        d->address = NO_ADDRESS;
        /* The first ones have a key or a name that the gate does not know. */
        snprintf(d->identity, sizeof(d->identity), "device-%u", i == 0 ? 999 : i);
        for (uint32_t k = 0; k < WORLD_PSKS * WORLD_KINDS; k++)
            make_kind(d, i, k / WORLD_KINDS, k % WORLD_KINDS);
        at->gate = world->gate;
        at->client = new_client(world, i, 0); /* not switched on yet */
        world->gate->device_count = i + 1;
    }
}

static void act_when_up(struct world *world, uint32_t device)
{
    uint64_t what = world_draw(world, 1000);
    bool has_cid = life_of(world, device)->cid_len != 0;
    if (world->devices[device].unanswered > PATIENCE && world_happens(world, 20))
        boot(world, device);
    else if (has_cid && what < 40)
        move(world, device);
    else if (has_cid && what < 50)
        fall_asleep(world, device);
    else if (what < 900)
        world_device_speak(world, device);
    else if (what < 930)
        speak_in_bundle(world, device);
    else if (what < 940)
        speak_before_another(world, device);
    else if (what < 952)
        world_device_close(world, device);
    else if (what < 960)
        switch_off(world, device);
    else if (what < 972)
        boot(world, device);
    else if (what < 976)
        boot_in_anger(world, device);
    else if (what < 980)
        ask_for_renegotiation(world, device);
    else if (what < 990)
        take_address(world, device); /* the NAT forgot it */
    else
        change_keys(world, device);
    if (life_of(world, device)->sent_messages + WORLD_PARTS_MAX > MODEL_MESSAGES_MAX)
        world_device_close(world, device);
}

void world_act(struct world *world)
{
    uint32_t device = (uint32_t)world_draw(world, WORLD_DEVICES);
    enum client_state state = client_of(world, device)->state;
    if (world->devices[device].is_asleep && state == CLIENT_UP) {
        if (world_happens(world, 10))
            wake(world, device);
    } else if (world->devices[device].address != NO_ADDRESS && state == CLIENT_UP) {
        act_when_up(world, device);
    } else if (world->devices[device].address != NO_ADDRESS && state == CLIENT_CONNECTING) {
        if (world_happens(world, 5))
            boot(world, device);
        else if (world_happens(world, 3))
            take_address(world, device);
        else if (world_happens(world, 2))
            switch_off(world, device);
    } else if (world_happens(world, 30)) {
        if (world_happens(world, 40))
            leave_address(world, device);
        boot(world, device);
    }
}

void world_device_receive(struct world *world, const struct packet *packet)
{
    uint32_t address = model_address_index(&world->model, &packet->to);
    if (address >= WORLD_ADDRESSES || world->holders[address] == WORLD_DEVICES)
        return;
    uint32_t device = world->holders[address];
    struct device *at = &world->gate->devices[device];
    if (!addr_equal(&at->to, &packet->from))
        return;
    uint32_t before = at->client->message_count;
    memory_client_receive(at->client, packet->data, packet->len, world->gate->now_ms);
    if (at->client->state == CLIENT_BROKEN)
        life_of(world, device)->is_broken = true;
    if (at->client->message_count > before)
        world->devices[device].unanswered = 0;
    for (uint32_t i = before; i < at->client->message_count; i++)
        model_on_message(&world->model, world->devices[device].life, at->client->messages[i].data,
                         at->client->messages[i].len);
}
