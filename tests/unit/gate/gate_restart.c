#include "gate/gate_restart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "count/counters_area.h"
#include "fakes/coverage.h"
#include "run/reload.h"

enum { WORKERS_MAX = 8 };

/* Somebody who writes into the memory when nobody has it. */
struct damage {
    void (*write)(struct region *region, void *context);
    void *context;
};

static void suffer(int fd, const struct damage *damage)
{
    struct region region;
    struct err err = {0};
    assert_true(region_adopt(&region, dup(fd), &err));
    damage->write(&region, damage->context);
    region_close(&region);
}

void gate_rise(struct gate *gate, int fd)
{
    struct err err = {0};
    state_close(&gate->state);
    if (!state_adopt(&gate->state, fd, &err))
        fail_msg("%s", err.text);
    gate->identities = identities_new(&err);
    assert_non_null(gate->identities);
}

/* What is left is the memory, by its descriptor. */
static int leave(struct gate *gate, struct datapath *workers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) /* that of the first one is the fixture's */
            udp_close(gate_backend_socket(&workers[i]));
        datapath_deinit(&workers[i]);
    }
    int fd = dup(gate->state.region.fd);
    assert_true(fd >= 0);
    state_close(&gate->state);
    identities_free(gate->identities);
    gate->identities = NULL;
    return fd;
}

static void die(struct gate *gate, struct datapath *workers, uint32_t count,
                const struct damage *damage)
{
    int fd = leave(gate, workers, count);
    if (damage != NULL)
        suffer(fd, damage);
    gate_rise(gate, fd);
}

static void open_workers(struct gate *gate, struct datapath *workers, uint32_t count)
{
    struct err err = {0};
    const struct datapath_shared shared = {.state = &gate->state, .identities = gate->identities};
    assert_true(reload_enter_state(gate->generation, &gate->state, &err));
    assert_true(counters_area_adopt(&gate->state, WORKERS_MAX, &err));
    state_begin_workers(&gate->state, count);
    udp_close(&gate->backend);
    for (uint32_t i = 0; i < count; i++) {
        struct udp_socket socket;
        assert_true(udp_open_backend(&socket, gate->backend.bound.port, i == 0, &err));
        if (!datapath_init(&workers[i], gate->generation, &shared, i, count, &socket, &err))
            fail_msg("%s", err.text);
        if (i == 0)
            gate->backend = socket;
    }
}

/* Up to where the first `killed_after` workers have done so; `count` = completely. */
static struct sessions_adopted take_over(struct gate *gate, struct datapath *workers,
                                         uint32_t count, uint32_t killed_after)
{
    struct sessions_adopted sum = {0};
    struct sessions_adopt adopt;
    struct err err = {0};
    assert_true(sessions_adopt_begin(&adopt, &gate->state.region, state_is_copy(&gate->state),
                                     state_is_of_this_machine(&gate->state), &err));
    for (uint32_t i = 0; i < killed_after; i++) {
        struct sessions_adopted adopted;
        if (!datapath_adopt(&workers[i], &adopt, gate->now_ms, &adopted, &err))
            fail_msg("%s", err.text);
        assert_int_equal(gate_session_count(&workers[i]), adopted.kept);
        sessions_adopted_add(&sum, &adopted);
    }
    for (uint32_t i = 0; i < count && killed_after == count; i++)
        datapath_adopt_sweep(&workers[i], &adopt);
    sessions_adopt_end(&adopt);
    if (killed_after == count)
        state_note_renewed(&gate->state);
    return sum;
}

struct sessions_adopted gate_begin_anew(struct gate *gate)
{
    open_workers(gate, &gate->dp, 1);
    for (uint32_t i = 0; i < gate->listener_count; i++)
        if (gate->listening[i].fd >= 0)
            datapath_add_socket(&gate->dp, i, &gate->listening[i]);
    struct sessions_adopted adopted = take_over(gate, &gate->dp, 1, 1);
    gate->inherited = adopted.kept + sessions_adopted_lost(&adopted);
    gate->due_ms = gate->now_ms;
    while (datapath_swap_on(&gate->dp, gate->now_ms))
        ;
    return adopted;
}

static struct sessions_adopted restart(struct gate *gate, const struct damage *damage)
{
    coverage_add(&gate->dp.counters, gate->listener_count);
    die(gate, &gate->dp, 1, damage);
    return gate_begin_anew(gate);
}

struct sessions_adopted gate_restart(struct gate *gate)
{
    return restart(gate, NULL);
}

struct sessions_adopted gate_restart_as(struct gate *gate, const char *ini)
{
    gate_read_settings(gate, ini);
    return restart(gate, NULL);
}

static void become_copy(struct region *region, void *context)
{
    ((struct layout_header *)region->base)->origin = *(const enum layout_origin *)context;
}

struct sessions_adopted gate_restart_from(struct gate *gate, enum layout_origin origin)
{
    const struct damage damage = {.write = become_copy, .context = &origin};
    return restart(gate, &damage);
}

struct sessions_adopted gate_restart_killed(struct gate *gate, enum layout_origin origin,
                                            uint32_t worker_count, uint32_t killed_after)
{
    static struct datapath workers[WORKERS_MAX];
    const struct damage damage = {.write = become_copy, .context = &origin};
    coverage_add(&gate->dp.counters, gate->generation->config->listener_count);
    die(gate, &gate->dp, 1, &damage);
    open_workers(gate, workers, worker_count);
    struct sessions_adopted adopted = take_over(gate, workers, worker_count, killed_after);
    /* What comes next ends these, too. */
    gate->dp = workers[0];
    for (uint32_t i = 1; i < worker_count; i++)
        datapath_deinit(&workers[i]);
    return adopted;
}

struct sessions_adopted gate_restart_damaged(struct gate *gate,
                                             void (*write)(struct region *region, void *context),
                                             void *context)
{
    const struct damage damage = {.write = write, .context = context};
    return restart(gate, &damage);
}

struct sessions_adopted gate_restart_with(struct gate *gate, uint32_t worker_count,
                                          void (*on_worker)(const struct datapath *dp,
                                                            void *context),
                                          void *context)
{
    static struct datapath workers[WORKERS_MAX];
    coverage_add(&gate->dp.counters, gate->listener_count);
    die(gate, &gate->dp, 1, NULL);
    open_workers(gate, workers, worker_count);
    struct sessions_adopted sum = take_over(gate, workers, worker_count, worker_count);
    for (uint32_t i = 0; i < worker_count && on_worker != NULL; i++)
        on_worker(&workers[i], context);
    die(gate, workers, worker_count, NULL);
    open_workers(gate, &gate->dp, 1);
    struct sessions_adopted after = take_over(gate, &gate->dp, 1, 1);
    assert_int_equal(after.kept, sum.kept);
    gate->inherited = after.kept;
    gate->due_ms = gate->now_ms;
    return sum;
}

int gate_die(struct gate *gate)
{
    return leave(gate, &gate->dp, 1);
}
