/* What the operator of the gate does: other settings, ends, drains, restarts and kills. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "gate/gate_restart.h"
#include "property/property_world.h"
#include "worker/inquiry.h"

enum { FIRST_WITH_KEY = 3 /* devices before it never have the right one */ };

/* ---- settings ------------------------------------------------------------------------------- */

/* One at least is there. */
static void remove_or_add(struct world_settings *settings, uint32_t which)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < WORLD_LISTENERS; i++)
        count += settings->listeners[i].is_there;
    if (count > 1 || !settings->listeners[which].is_there)
        settings->listeners[which].is_there = !settings->listeners[which].is_there;
}

/* Where it is cannot change together with its name: it would be another listener. */
static void change_listener(struct world *world)
{
    uint32_t which = (uint32_t)world_draw(world, WORLD_LISTENERS);
    struct world_listener *l = &world->settings.listeners[which];
    uint64_t what = world_draw(world, 10);
    if (!l->is_there || what < 2)
        remove_or_add(&world->settings, which);
    else if (what < 4)
        l->is_renamed = !l->is_renamed;
    else if (what < 6)
        l->has_moved = !l->has_moved;
    else if (what < 8)
        l->has_other_backend = !l->has_other_backend;
    else
        l->has_other_idle = !l->has_other_idle;
}

static void change_psk(struct world *world)
{
    uint32_t device = FIRST_WITH_KEY + (uint32_t)world_draw(world, WORLD_DEVICES - FIRST_WITH_KEY);
    uint8_t *psk = &world->settings.psks[device];
    if (*psk == WORLD_PSKS || world_happens(world, 50))
        *psk = world->devices[device].psk;
    else
        *psk = (uint8_t)world_draw(world, WORLD_PSKS + 1);
    /* Some devices are given the key before, some after it is in force, some never. */
    if (*psk != WORLD_PSKS && world_happens(world, 60))
        world->devices[device].psk = *psk;
}

static void change_gate(struct world *world)
{
    static const uint32_t tombstones_s[] = {5, 30, 60, 247};
    struct world_settings *settings = &world->settings;
    if (world_happens(world, 50))
        settings->max_sessions = 4 + (uint32_t)world_draw(world, 30);
    else
        settings->tombstone_s = tombstones_s[world_draw(world, 4)];
}

static void reload(struct world *world)
{
    for (uint64_t changes = world_draw(world, 4); changes > 0; changes--) {
        uint64_t what = world_draw(world, 10);
        if (what < 5)
            change_psk(world);
        else if (what < 9)
            change_listener(world);
        else
            change_gate(world);
    }
    world->settings.first = (uint32_t)world_draw(world, WORLD_LISTENERS);
    world_reload(world);
    world->reloads++;
}

/* ---- inquiries ------------------------------------------------------------------------------ */

static void on_answer(void *context)
{
    (void)context;
}

/* Until it is answered completely. Returns how many were ended. */
static uint32_t ask(struct world *world, struct inquiry *inquiry)
{
    uint32_t count = 0;
    do {
        inquiry_ask(inquiry);
        inquiry_answer(inquiry, &world->gate->dp, world->gate->now_ms);
        count += inquiry->count;
    } while (inquiry->is_more);
    assert_true(inquiry_give_up(inquiry));
    return count;
}

static struct inquiry *new_inquiry(enum inquiry_kind kind)
{
    struct inquiry *inquiry = inquiry_new(kind, on_answer, NULL);
    assert_non_null(inquiry);
    return inquiry;
}

static void drain(struct world *world)
{
    struct inquiry *inquiry = new_inquiry(INQUIRY_DRAIN);
    for (uint32_t i = 0; i < WORLD_LISTENERS; i++) {
        world->model.listeners[i].is_draining =
            world_happens(world, 15) && world->model.listeners[i].is_there;
        inquiry->is_draining[i] = world->model.listeners[i].is_draining;
    }
    (void)ask(world, inquiry);
}

/* One session, or all of an identity or of a listener. */
static void draw_filter(struct world *world, struct session_filter *filter)
{
    const struct model *model = &world->model;
    const struct life *life = &model->lives[model->live[world_draw(world, model->live_count)]];
    uint64_t what = world_draw(world, 20);
    if (what < 10) {
        filter->has_number = true;
        filter->number = life->session;
    } else if (what < 19) {
        const char *identity = model_identity_of(life);
        filter->identity_len = strlen(identity);
        memcpy(filter->identity, identity, filter->identity_len);
    } else {
        filter->has_listener = true;
        filter->listener = life->listener;
    }
}

static bool is_meant(const struct session_filter *filter, const struct life *life)
{
    const char *identity = model_identity_of(life);
    return (!filter->has_number || filter->number == life->session) &&
           (!filter->has_listener || filter->listener == life->listener) &&
           (filter->identity_len == 0 ||
            (filter->identity_len == strlen(identity) &&
             memcmp(filter->identity, identity, filter->identity_len) == 0));
}

static void close_some(struct world *world)
{
    struct model *model = &world->model;
    uint32_t meant = 0;
    if (model->live_count == 0)
        return;
    struct inquiry *inquiry = new_inquiry(INQUIRY_CLOSE);
    draw_filter(world, &inquiry->filter);
    model_begin_step(model);
    for (uint32_t i = 0; i < model->live_count; i++) {
        if (!is_meant(&inquiry->filter, &model->lives[model->live[i]]))
            continue;
        model_condemn(model, model->live[i], CLOSE_closed_by_operator);
        meant++;
    }
    assert_int_equal(ask(world, inquiry), meant);
    gate_tick(world->gate);
    model_check_step(model);
}

/* ---- restarts ------------------------------------------------------------------------------- */

/* Killed while it changed a session, or while it ended one. Only of the listener that gate_view.h
 * can look at, and found by its address. */
static void tear_one(struct world *world)
{
    struct model *model = &world->model;
    uint32_t first = world->gate->generation->listeners[0].number;
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *life = &model->lives[model->live[i]];
        if (life->listener != first || !life->path.holds_address)
            continue;
        bool is_ending = world_happens(world, 30);
        gate_tear(&world->gate->dp, &life->addr, is_ending);
        model_condemn(model, model->live[i], is_ending ? CLOSE_evicted : CLOSE_torn);
        return;
    }
}

static uint64_t draw_gap_ms(struct world *world)
{
    if (world_happens(world, 80))
        return world_draw(world, 300);
    return world_draw(world, 10000);
}

/* What comes meanwhile waits in the sockets. */
static void restart(struct world *world)
{
    struct gate *gate = world->gate;
    struct model *model = &world->model;
    struct model_totals before[MODEL_LISTENERS + 1];
    uint32_t live = model->live_count, workers = 1 + (uint32_t)world_draw(world, 3);
    model_begin_step(model);
    if (world_happens(world, 20))
        tear_one(world);
    model_totals(model, before);
    gate->now_ms += draw_gap_ms(world);
    if (workers > 1)
        live = gate_restart_with(gate, workers, NULL, NULL).kept;
    struct sessions_adopted adopted = gate_restart(gate);
    world_limit_gate(world);
    model_on_restart(model, before);
    assert_int_equal(adopted.kept, model->live_count);
    assert_true(live >= adopted.kept && adopted.removed == 0);
    gate_tick(gate);
    model_check_step(model);
    world->restarts++;
}

/* Some of what arrives at the next moments is lost with the process. */
static void kill_in_batch(struct world *world)
{
    world->is_dying = true;
    world_run(world, 1 + world_draw(world, 5));
    world->is_dying = world->is_losing = false;
    restart(world);
}

void world_operate(struct world *world)
{
    uint64_t what = world_draw(world, 100);
    if (what < 45)
        reload(world);
    else if (what < 60)
        close_some(world);
    else if (what < 75)
        drain(world);
    else if (what < 90)
        restart(world);
    else
        kill_in_batch(world);
}

void world_undrain(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_LISTENERS; i++)
        world->model.listeners[i].is_draining = false;
    (void)ask(world, new_inquiry(INQUIRY_DRAIN));
}
