#include "property/property_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_keys.h"
#include "property/property_note.h"

uint64_t world_draw(struct world *world, uint64_t below)
{
    return fake_system_random(&world->random) % below;
}

bool world_happens(struct world *world, unsigned percent)
{
    return world_draw(world, 100) < percent;
}

void world_damage(struct world *world, uint8_t *data, size_t len)
{
    enum { TAG_MIN = 8 };
    assert_true(len > TAG_MIN);
    data[len - 1 - world_draw(world, TAG_MIN)] ^= (uint8_t)(1u << world_draw(world, 8));
}

/* ---- the gate ------------------------------------------------------------------------------- */

/* One as most are, one for the impatient, one with little room, one with small flights; with
 * connection IDs of the usual length, so short ones that others get them again, none, and long
 * ones. */
static const struct {
    const char *name;
    unsigned port, backend;
    const char *settings;
} listeners[] = {
    {"usual", 5684, 5683, "idle_timeout_cid = 10m\n"},
    {"impatient", 5685, 5693,
     "idle_timeout = 25s\nidle_timeout_cid = 40s\nhandshake_timeout = 8s\nretransmit = 500ms\n"
     "cid_length = 2\n"},
    {"narrow", 5686, 5683,
     "max_handshakes = 2\nhandshakes_per_s = 2\nhellos_per_prefix_per_s = 2\n"
     "idle_timeout = 10m\ncid_length = 0\n"},
    {"small", 5687, 5703,
     "mtu = 300\nidle_timeout = 2m\nidle_timeout_cid = 5m\nretransmit = 1s\n"
     "cid_length = 20\n"},
};
enum { LISTENERS = sizeof(listeners) / sizeof(listeners[0]) };

static const struct {
    uint32_t max_sessions, tombstone_s, slots; /* slots: of each of MODEL_BUCKETS */
} gates[] = {
    {6, 5, 100}, {1000, 247, 200}, {12, 60, 6}, {20, 247, 100}, {16, 30, 7},
};
enum { GATES = sizeof(gates) / sizeof(gates[0]) };

/* The identity of each device, with the same key. */
static void write_psks(const char *path)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    for (int i = 0; i < WORLD_DEVICES; i++) {
        fprintf(out, "device-%d:", i);
        for (const char *c = KEY; *c != '\0'; c++)
            fprintf(out, "%02x", *c);
        fputc('\n', out);
    }
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Keys that wear out: those of DTLS 1.3 are changed in time, if the device answers. Forgeries would
 * make the device change its own, more often than the model can follow. */
static const struct record_limits low_limits = {.sealed = 16, .forged = 1 << 20};

static bool has_low_limits(uint64_t seed)
{
    return seed % 3 == 0;
}

static void open_gate(struct world *world, uint64_t seed)
{
    char path[256], ini[4096];
    int pid = (int)getpid(), which = (int)(seed % GATES);
    snprintf(path, sizeof(path), "%s/property-%d.psk", gate_keys(), pid);
    write_psks(path);
    size_t len = (size_t)snprintf(ini, sizeof(ini), GATE "max_sessions = %u\ntombstone = %us\n",
                                  gates[which].max_sessions, gates[which].tombstone_s);
    for (int i = 0; i < LISTENERS; i++)
        len += (size_t)snprintf(
            ini + len, sizeof(ini) - len,
            "[listener %s]\nlisten = " GATE_ADDRESS
            ":%u\nbackend = 127.0.0.1:%u\npsk_file = property-%d.psk\n%s" CERTIFICATE CLIENT_CA,
            listeners[i].name, listeners[i].port, listeners[i].backend, pid, listeners[i].settings);
    assert_true(len < sizeof(ini));
    gate_open(world->gate, ini);
    unlink(path);
    gate_set_slot_max(&world->gate->dp, gates[which].slots);
    gate_set_record_limits(&world->gate->dp, has_low_limits(seed) ? &low_limits : NULL);
    fake_system_seed(seed);
}

/* ---- the network ---------------------------------------------------------------------------- */

static void on_sent(void *context, const struct packet *packet)
{
    struct world *world = context;
    if (packet->direction == GATE_TO_CLIENT)
        gate_policy_on_sent(&world->gate->policy, packet);
    model_on_sent(&world->model, packet);
}

static void on_arrival(void *context, const struct packet *packet)
{
    struct world *world = context;
    model_on_arrival(&world->model, packet);
    switch (packet->direction) {
    case CLIENT_TO_GATE: world_send_before_session(world, packet); /* fall through */
    case BACKEND_TO_GATE:
        world->steps++;
        fake_udp_put(packet);
        break;
    case GATE_TO_CLIENT: world_device_receive(world, packet); break;
    case GATE_TO_BACKEND: world_backend_receive(world, packet); break;
    }
}

static void on_line(void *context, const char *line)
{
    struct world *world = context;
    world->lines++;
    model_on_log(&world->model, line);
}

void world_send(struct world *world, const struct origin *origin, const struct addr *from,
                const struct addr *to, const void *data, size_t len, uint64_t delay_ms)
{
    world->model.next_origin = *origin;
    fake_network_set_delay_ms(delay_ms);
    fake_network_send(CLIENT_TO_GATE, from, to, data, len);
    fake_network_set_delay_ms(world->usual_delay_ms);
    world->model.next_origin = (struct origin){.life = NO_LIFE};
}

void world_send_from_backend(struct world *world, const struct addr *from, uint32_t source,
                             const void *data, size_t len, uint64_t delay_ms)
{
    struct addr to = model_source_addr(&world->model, source);
    fake_network_set_delay_ms(delay_ms);
    fake_network_send(BACKEND_TO_GATE, from, &to, data, len);
    fake_network_set_delay_ms(world->usual_delay_ms);
}

void world_note(struct world *world, uint32_t listener, uint32_t source, size_t len,
                uint64_t delay_ms)
{
    uint8_t data[20000];
    struct note note = {true, source, world->model.notes};
    if (world->model.notes == MODEL_NOTES_MAX)
        return;
    world->model.notes++;
    note_write(&note, data, len);
    world_send_from_backend(world, &world->gate->generation->config->listeners[listener].backend,
                            source, data, len, delay_ms);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* The lines of late are enough to explain a failure, and gate_fixture.c reads all of them again
 * and again. */
enum { LINES_KEPT = 150 };

static void step(struct world *world, uint64_t now_ms)
{
    struct gate *gate = world->gate;
    world->steps += gate->due_ms <= now_ms;
    model_begin_step(&world->model);
    gate_step(gate, now_ms);
    model_check_step(&world->model);
    if (world->lines > LINES_KEPT) {
        fake_log_reset();
        world->lines = 0;
    }
}

static uint64_t next_event_ms(const struct world *world)
{
    uint64_t gate_ms = gate_next_event_ms(world->gate);
    uint64_t observation_ms = world_next_observation_ms(world);
    return observation_ms < gate_ms ? observation_ms : gate_ms;
}

void world_run(struct world *world, uint64_t ms)
{
    struct gate *gate = world->gate;
    uint64_t end_ms = gate->now_ms + ms, next_ms;
    while ((next_ms = next_event_ms(world)) <= end_ms) {
        step(world, next_ms > gate->now_ms ? next_ms : gate->now_ms);
        world_observe(world);
    }
    if (gate->now_ms < end_ms)
        step(world, end_ms);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

void world_open(struct world *world, struct gate *gate, uint64_t seed)
{
    *world = (struct world){.gate = gate, .random = seed};
    open_gate(world, seed);
    model_init(&world->model, gate);
    world->model.has_low_limits = has_low_limits(seed);
    fake_network_set_handlers(on_arrival, on_sent, world);
    fake_log_set_listener(on_line, world);
    for (uint32_t i = 0; i < WORLD_ADDRESSES; i++)
        world->holders[i] = WORLD_DEVICES;
    world_add_devices(world);
    world->chance_of_answer = 20 + (unsigned)world_draw(world, 60);
    world->usual_delay_ms = 1 + world_draw(world, 3);
    fake_network_set_delay_ms(world->usual_delay_ms);
    if (seed % 4 != 0)
        fake_network_plan_random(seed, (unsigned)world_draw(world, 20),
                                 (unsigned)world_draw(world, 10), (unsigned)world_draw(world, 10));
}

void world_close(struct world *world)
{
    fake_log_set_listener(NULL, NULL);
    for (uint32_t i = 0; i < WORLD_DEVICES; i++) {
        for (uint32_t j = 0; j < world->devices[i].part_count; j++)
            free(world->devices[i].parts[j].data);
    }
    world_forget_devices(world);
    model_deinit(&world->model);
}
