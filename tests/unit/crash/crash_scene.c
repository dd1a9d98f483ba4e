#include "crash/crash_scene.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "crash/crash_text.h"
#include "crash/store_trap.h"
#include "gate/gate_restart.h"
#include "state/layout.h"

enum {
    /* What a child has found out is its exit status; others mean that something did not hold. */
    FATE_STATUS = 10,
    /* So long what was lost is repeated. */
    SETTLED_MS = 30000,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    KILL_AT_ONE_IN = 11, /* a fork takes long there */
#else
    KILL_AT_ONE_IN = 1,
#endif
};

void crash_scene_open(struct crash_scene *scene, struct gate *gate, const char *ini)
{
    *scene = (struct crash_scene){.gate = gate};
    gate_open(gate, ini);
    gate->is_one_bucket = true; /* so that they could get in each other's way */
    scene->bystander = gate_connected(gate, gate_kind("1.2 psk ccm-8, cid 4"));
    gate_assert_echo(gate, scene->bystander, crash_text_new());
}

void crash_scene_add(struct crash_scene *scene)
{
    scene->subject = gate_add(scene->gate, scene->kind);
}

void crash_scene_connect(struct crash_scene *scene)
{
    scene->subject = gate_connected(scene->gate, scene->kind);
    scene->source = gate_slot_addr_of(&scene->gate->dp, &scene->subject->addr);
    scene->first_packet = fake_network_captured();
}

/* ---- the child ------------------------------------------------------------------------------- */

static void copy_range(int from, int to, off_t offset, off_t end)
{
    static uint8_t page[4096];
    for (; offset < end; offset += (off_t)sizeof(page)) {
        assert_int_equal(pread(from, page, sizeof(page), offset), sizeof(page));
        /* What is all zero needs no memory. */
        if (page[0] != 0 || memcmp(page, page + 1, sizeof(page) - 1) != 0)
            assert_int_equal(pwrite(to, page, sizeof(page), offset), sizeof(page));
    }
}

/* Of the state as it is at this moment. */
static int copy_state(const struct region *region)
{
    int copy = memfd_create("state of a killed process", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(copy >= 0);
    assert_int_equal(ftruncate(copy, (off_t)region->bytes), 0);
    assert_int_equal(fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    size_t begin = region_next_used(region, 0);
    while (begin < region->bytes) {
        off_t end = lseek(region->fd, (off_t)begin, SEEK_HOLE);
        copy_range(region->fd, copy, (off_t)begin, end);
        begin = region_next_used(region, (size_t)end);
    }
    return copy;
}

/* From the beginning on. */
static void assert_nothing_came_twice(void)
{
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction == GATE_TO_BACKEND)
            crash_text_note_delivered(packet->data, packet->len);
    }
}

static bool was_somebody_at(const struct addr *addr)
{
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction == CLIENT_TO_GATE && addr_equal(&packet->from, addr))
            return true;
    }
    return false;
}

static void assert_nothing_went_astray(void)
{
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction == GATE_TO_CLIENT)
            assert_true(was_somebody_at(&packet->to));
    }
}

static void replay(const struct crash_scene *scene)
{
    uint32_t end = fake_network_captured();
    for (uint32_t i = scene->first_packet; i < end; i++) {
        struct packet packet = *fake_network_packet(i);
        if (packet.direction == CLIENT_TO_GATE)
            (void)gate_inject(scene->gate, &packet.from, packet.data, packet.len);
    }
    gate_run(scene->gate, 10);
}

static bool has_session(const struct crash_scene *scene)
{
    const struct datapath *dp = &scene->gate->dp;
    return scene->source.family != 0 ? gate_has_session_from(dp, &scene->source)
                                     : gate_has_session_at(dp, &scene->subject->addr);
}

/* As long as the device has not closed it. */
static void assert_is_served(const struct crash_scene *scene)
{
    const struct device *subject = scene->subject;
    if (subject->client->state == CLIENT_CLOSED || scene->has_successor)
        return;
    assert_int_equal(subject->client->state, CLIENT_UP);
    gate_assert_echo(scene->gate, scene->subject, crash_text_new());
    gate_assert_echo(scene->gate, scene->subject, crash_text_new());
    struct addr now = gate_last_source();
    assert_true(scene->source.family == 0 || addr_equal(&now, &scene->source));
}

static void assert_is_over(const struct crash_scene *scene)
{
    struct gate *gate = scene->gate;
    uint32_t told = fake_network_count(GATE_TO_CLIENT, &scene->subject->addr);
    uint64_t unknown = gate_late(gate, LATE_UNKNOWN);
    const char *text = crash_text_new();
    assert_int_equal(gate_inject_from_backend(gate, &scene->source, text, strlen(text)),
                     BACKEND_late);
    if (!scene->is_forgotten)
        assert_int_equal(gate_late(gate, LATE_UNKNOWN), unknown);
    if (!scene->may_tear)
        assert_int_equal(gate_late(gate, CLOSE_torn), 0);
    gate_run(gate, 10);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, &scene->subject->addr), told);
}

/* It begins where the others do. */
static void assert_others_are_served(const struct crash_scene *scene)
{
    struct gate *gate = scene->gate;
    gate_assert_echo(gate, scene->bystander, crash_text_new());
    struct addr taken = gate_last_source();
    struct device *device = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    gate_assert_echo(gate, device, crash_text_new());
    struct addr fresh = gate_last_source();
    assert_false(addr_equal(&fresh, &taken));
    if (!scene->is_forgotten)
        assert_false(addr_equal(&fresh, &scene->source));
}

static void assert_all_is_given_back(struct gate *gate)
{
    gate_stop(gate);
    gate_tick(gate);
    assert_true(gate_is_empty(&gate->dp));
    assert_true(gate_is_reaped(&gate->dp));
    assert_int_equal(gate_bytes_kept(&gate->dp), 0);
}

/* Before the device does: to where the state says that it is. Where sessions may end, an order of
 * use that is not that of before would let others end. */
static void speak_first(const struct crash_scene *scene)
{
    const char *text = crash_text_new();
    if (scene->source.family != 0 && scene->subject->client->state == CLIENT_UP && !scene->may_end)
        (void)gate_inject_from_backend(scene->gate, &scene->source, text, strlen(text));
}

static void lose_what_is_on_its_way(const struct crash_scene *scene)
{
    enum { ALL_OF_IT_MS = 3 };
    scene->subject->client->is_deaf = scene->is_lossy;
    gate_run(scene->gate, ALL_OF_IT_MS);
    scene->subject->client->is_deaf = false;
}

static enum crash_fate judge(struct crash_scene *scene)
{
    struct gate *gate = scene->gate;
    gate_rise(gate, copy_state(&gate->state.region));
    struct sessions_adopted adopted = gate_begin_anew(gate);
    gate_set_record_limits(&gate->dp, scene->limits);
    assert_int_equal(gate_closed(gate, CLOSE_torn), adopted.torn);
    assert_in_range(adopted.torn, 0, scene->may_tear);
    assert_in_range(adopted.ended, 0, scene->may_end);
    lose_what_is_on_its_way(scene);
    speak_first(scene);
    gate_run(gate, SETTLED_MS);
    replay(scene);
    bool is_there = has_session(scene);
    enum crash_fate fate = is_there                    ? CRASH_WHOLE
                           : scene->source.family == 0 ? CRASH_ABSENT
                           : adopted.torn != 0         ? CRASH_TORN
                                                       : CRASH_ENDED;
    if (fate == CRASH_ENDED)
        assert_true(scene->may_end);
    if (is_there)
        assert_is_served(scene);
    else if (scene->source.family != 0)
        assert_is_over(scene);
    assert_others_are_served(scene);
    assert_nothing_came_twice();
    assert_nothing_went_astray();
    assert_all_is_given_back(gate);
    return fate;
}

/* ---- the parent ------------------------------------------------------------------------------ */

/* So that whatever fails in a child ends it there, with its message, and no test runs in it. */
static void be_child(struct crash_scene *scene)
{
    const struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    signal(SIGABRT, SIG_DFL);
    _exit(FATE_STATUS + (int)judge(scene));
}

static void kill_here(struct crash_scene *scene)
{
    int status = 0;
    scene->is_lossy = scene->kills % 2 != 0;
    pid_t child = fork();
    if (child == 0)
        be_child(scene);
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    int fate = WIFEXITED(status) ? WEXITSTATUS(status) - FATE_STATUS : -1;
    if (fate < 0 || fate >= CRASH_FATES) {
        store_trap_disarm(); /* for what follows in this process */
        fail_msg("kill number %u, see above: the next process fails (status %d)", scene->kills,
                 status);
    }
    scene->fates[fate]++;
    scene->kills++;
}

/* What a start does again and again, and need not be tried each time: it notes something of each
 * worker that there may be, and wipes all cells that are free. */
static bool is_one_of_many(struct crash_scene *scene, const struct store_trap_stop *stop)
{
    enum { WORKERS = 2, CELL_STORES = 120 };
    if (!scene->is_start)
        return false;
    if (stop->offset < LAYOUT_DIRECTORY_AT)
        return stop->offset >= offsetof(struct layout_header, workers[WORKERS]) &&
               stop->offset < offsetof(struct layout_header, listeners);
    if (stop->offset >= LAYOUT_CHUNKS_AT && ++scene->cell_stores == CELL_STORES)
        store_trap_leave_out(LAYOUT_CHUNKS_AT, LAYOUT_BYTES - LAYOUT_CHUNKS_AT);
    return false;
}

/* If nothing has changed, in the state or outside, it is the same kill as the one before. */
static void before_store(const struct store_trap_stop *stop, void *context)
{
    struct crash_scene *scene = context;
    uint64_t outside = fake_network_captured() + nonce_watch_seen();
    if ((!stop->has_changed && outside == scene->outside) || is_one_of_many(scene, stop))
        return;
    scene->outside = outside;
    if (scene->stops++ % KILL_AT_ONE_IN == 0)
        kill_here(scene);
}

void crash_scene_run(struct crash_scene *scene, void (*operation)(struct crash_scene *scene))
{
    if (scene->first_packet == 0)
        scene->first_packet = fake_network_captured();
    store_trap_arm(&scene->gate->state.region, before_store, scene);
    if (scene->is_start)
        store_trap_leave_out(LAYOUT_COUNTERS_AT(0), 2 * LAYOUT_COUNTERS_BYTES);
    operation(scene);
    store_trap_disarm();
    assert_true(scene->stops > 0); /* or nothing was tried */
    kill_here(scene);
}
