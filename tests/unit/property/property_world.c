#include "property/property_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

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

/* ---- the network ---------------------------------------------------------------------------- */

static void on_sent(void *context, const struct packet *packet)
{
    struct world *world = context;
    if (packet->direction == GATE_TO_CLIENT)
        gate_policy_on_sent(&world->gate->policy, packet);
    model_on_sent(&world->model, packet);
}

/* It is in the hands of a process that is killed over it. */
static bool is_lost(struct world *world, const struct packet *packet)
{
    bool is_for_gate = packet->direction == CLIENT_TO_GATE || packet->direction == BACKEND_TO_GATE;
    if (!world->is_dying || !is_for_gate)
        return false;
    world->is_losing = world->is_losing || world_happens(world, 30);
    return world->is_losing;
}

static void on_arrival(void *context, const struct packet *packet)
{
    struct world *world = context;
    if (is_lost(world, packet))
        return;
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
    const struct model_listener *l = &world->model.listeners[listener];
    /* The one before may have something to say yet. */
    bool is_old = l->before_until_ms != 0 && !world->is_calm && world_happens(world, 30);
    world_send_from_backend(world, is_old ? &l->backend_before : &l->config.backend, source, data,
                            len, delay_ms);
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
    world_open_gate(world, seed);
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
