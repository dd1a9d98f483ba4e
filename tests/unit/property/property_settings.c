/* The settings of the gate, as an operator writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gate/gate_keys.h"
#include "property/property_world.h"

/* One as most are, one for the impatient, one with little room, one with small flights, one that
 * comes later; with connection IDs of the usual length, so short ones that others get them again,
 * none, and long ones. Idle timeouts that are in force at first, and others. */
static const struct {
    const char *name, *other_name, *settings, *idle, *other_idle;
} listeners[WORLD_LISTENERS] = {
    {"usual", "customary", "", "idle_timeout_cid = 10m\n", "idle_timeout_cid = 90s\n"},
    {"impatient", "restless",
     "handshake_timeout = 8s\nretransmit = 500ms\ncid_length = 2\non_key_change = end\n",
     "idle_timeout = 25s\nidle_timeout_cid = 40s\n",
     "idle_timeout = 15s\nidle_timeout_cid = 80s\n"},
    {"narrow", "strait",
     "max_handshakes = 2\nhandshakes_per_s = 2\nhellos_per_prefix_per_s = 2\ncid_length = 0\n",
     "idle_timeout = 10m\n", "idle_timeout = 30s\n"},
    {"small", "little", "mtu = 300\nretransmit = 1s\ncid_length = 20\n",
     "idle_timeout = 2m\nidle_timeout_cid = 5m\n", "idle_timeout = 1m\nidle_timeout_cid = 2m\n"},
    {"spare", "further", "cid_length = 5\non_key_change = end\n", "", "idle_timeout = 20s\n"},
};
enum { PORT = 5684, OTHER_PORT = 5784, BACKEND_PORT = 5683, OTHER_BACKEND_PORT = 5783 };

static const struct {
    uint32_t max_sessions, tombstone_s, slots; /* slots: of each of MODEL_BUCKETS */
} gates[] = {
    {6, 5, 100}, {1000, 247, 200}, {12, 60, 6}, {20, 247, 100}, {16, 30, 7},
};
enum { GATES = sizeof(gates) / sizeof(gates[0]) };

const char *const world_psks[WORLD_PSKS] = {KEY, "another key 1234"};

/* Keys that wear out: those of DTLS 1.3 are changed in time, if the device answers. Forgeries would
 * make the device change its own, more often than the model can follow. */
static const struct record_limits low_limits = {.sealed = 16, .forged = 1 << 20};

/* ---- files ---------------------------------------------------------------------------------- */

static const char *psk_of(const struct world *world, uint32_t device)
{
    uint32_t key = world->settings.psks[device];
    return key < WORLD_PSKS ? world_psks[key] : NULL;
}

static void write_psks(const struct world *world, const char *path)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    for (uint32_t i = 0; i < WORLD_DEVICES; i++) {
        const char *key = psk_of(world, i);
        if (key != NULL)
            fprintf(out, "device-%u:", i);
        for (const char *c = key; c != NULL && *c != '\0'; c++)
            fprintf(out, "%02x", *c);
        if (key != NULL)
            fputc('\n', out);
    }
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_listener(const struct world_settings *settings, uint32_t i, FILE *out)
{
    const struct world_listener *l = &settings->listeners[i];
    /* Two share a backend. */
    uint32_t backend = (l->has_other_backend ? OTHER_BACKEND_PORT : BACKEND_PORT) + i / 2 * 10;
    fprintf(out,
            "[listener %s]\nlisten = " GATE_ADDRESS
            ":%u\nbackend = 127.0.0.1:%u\npsk_file = property-%d.psk\n%s%s" CERTIFICATE CLIENT_CA,
            l->is_renamed ? listeners[i].other_name : listeners[i].name,
            (l->has_moved ? OTHER_PORT : PORT) + i, backend, (int)getpid(), listeners[i].settings,
            l->has_other_idle ? listeners[i].other_idle : listeners[i].idle);
}

/* The caller frees it. */
static char *write_settings(const struct world *world)
{
    const struct world_settings *settings = &world->settings;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fprintf(out, GATE "max_sessions = %u\ntombstone = %us\n", settings->max_sessions,
            settings->tombstone_s);
    for (uint32_t i = 0; i < WORLD_LISTENERS; i++) {
        uint32_t which = (settings->first + i) % WORLD_LISTENERS;
        if (settings->listeners[which].is_there)
            write_listener(settings, which, out);
    }
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Opens the gate, or has it reload. */
static void with_files(struct world *world, void (*use)(struct gate *gate, const char *ini))
{
    char path[256];
    snprintf(path, sizeof(path), "%s/property-%d.psk", gate_keys(), (int)getpid());
    write_psks(world, path);
    char *ini = write_settings(world);
    use(world->gate, ini);
    free(ini);
    unlink(path);
}

/* ---- in force ------------------------------------------------------------------------------- */

void world_limit_gate(struct world *world)
{
    gate_set_slot_max(&world->gate->dp, world->settings.slots);
    gate_set_record_limits(&world->gate->dp, world->model.has_low_limits ? &low_limits : NULL);
}

static void set_psks(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_DEVICES; i++) {
        char *identity = world->identities[i];
        snprintf(identity, sizeof(world->identities[i]), "device-%u", i);
        model_set_psk(&world->model, i, identity, psk_of(world, i));
    }
}

void world_open_gate(struct world *world, uint64_t seed)
{
    uint64_t which = seed % GATES;
    world->settings = (struct world_settings){.max_sessions = gates[which].max_sessions,
                                              .tombstone_s = gates[which].tombstone_s,
                                              .slots = gates[which].slots};
    for (uint32_t i = 0; i + 1 < WORLD_LISTENERS; i++)
        world->settings.listeners[i].is_there = true;
    with_files(world, gate_open);
    world->gate->listener_count = WORLD_LISTENERS;
    model_init(&world->model, world->gate);
    world->model.has_low_limits = seed % 3 == 0;
    world_limit_gate(world);
    set_psks(world);
    fake_system_seed(seed);
}

static void reload(struct gate *gate, const char *ini)
{
    (void)gate_reload(gate, ini);
}

/* A device has been told of it. */
static void follow(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_DEVICES; i++) {
        uint32_t life = world->devices[i].life;
        if (life != NO_LIFE)
            world->gate->devices[i].to =
                gate_listener_addr(world->gate, world->model.lives[life].listener);
    }
}

void world_reload(struct world *world)
{
    struct model *model = &world->model;
    model_begin_step(model);
    model->is_reloading = true;
    with_files(world, reload);
    world_limit_gate(world);
    gate_tick(world->gate);
    model_on_settings(model);
    set_psks(world);
    model_condemn_by_settings(model);
    model_check_step(model);
    follow(world);
}
