/* Workers go on with the sessions of the process before, all at the same time: real ones, opened by
 * a crew that leaves this to the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "backend/slots_inside.h"
#include "fakes/caught_log.h"
#include "fakes/fake_memory.h"
#include "gate/gate_view.h"
#include "gate/gate_wolfssl.h"
#include "net/steering.h"
#include "run/crew_scene.h"
#include "run/take_over.h"
#include "state/cells_adopt.h"

static struct crew_scene scene;
static struct caught_log log_of_it;

/* As if it were new: so nothing is taken over yet. */
static void open_crew(uint32_t worker_count)
{
    struct err err = {0};
    scene.state.is_new = true;
    if (!crew_scene_open_crew(&scene, worker_count, &err))
        fail_msg("%s", err.text);
    scene.state.is_new = false;
}

static bool take_over(struct sessions_adopted *sum, struct err *err)
{
    *sum = (struct sessions_adopted){0};
    return take_over_sessions(scene.crew.workers, scene.crew.count, &scene.state, sum, err);
}

static struct datapath *worker_of(const struct loopback_device *device)
{
    uint32_t bucket = steering_bucket_of_addr(&device->addr);
    return worker_datapath(scene.crew.workers[steering_worker_of_bucket(bucket, scene.crew.count)]);
}

static void test_a_new_state_has_none(void **state)
{
    struct sessions_adopted sum;
    struct err err = {0};
    (void)state;
    crew_scene_open(&scene, 2);
    caught_log_begin(&log_of_it);
    assert_true(take_over(&sum, &err));
    uint32_t lines = caught_log_count(&log_of_it);
    caught_log_end(&log_of_it);
    assert_int_equal(lines, 0);
    assert_int_equal(sum.kept + sum.torn + sum.ended + sum.removed, 0);
    crew_scene_close(&scene);
}

/* Byte by byte: an address sanitizer's memcmp() would object to free cells. */
__attribute__((no_sanitize("address"))) static bool is_wiped(const uint8_t *cell, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (((const volatile uint8_t *)cell)[i] != 0)
            return false;
    }
    return true;
}

/* Cells of sessions that are not wiped: keys are in them. A free one begins with a link. */
static uint32_t cells_in_use(void)
{
    struct cells_adopt all;
    struct err err = {0};
    uint32_t count = 0;
    if (!cells_adopt_begin(&all, &scene.state.region, &err))
        fail_msg("%s", err.text);
    const uint8_t *cell = NULL;
    while ((cell = cells_adopt_next(&all, CELLS_SESSIONS, cell)) != NULL) {
        size_t bytes = cells_adopt_bytes(&all, CELLS_SESSIONS, cell) - CELLS_UNIT_BYTES;
        count += !is_wiped(cell + CELLS_UNIT_BYTES, bytes);
    }
    cells_adopt_end(&all);
    return count;
}

/* What became of them is the sum over workers, in one line; and each has those that are its own. */
static void test_what_became_of_them(void **state)
{
    struct sessions_adopted sum;
    struct err err = {0};
    (void)state;
    for (uint32_t count = 1; count <= 4; count++) {
        crew_scene_open(&scene, 2);
        crew_scene_connect_all(&scene);
        crew_scene_leave(&scene);
        gate_tear(worker_of(&scene.devices[0]), &scene.devices[0].addr, false);
        gate_tear(worker_of(&scene.devices[1]), &scene.devices[1].addr, true);
        crew_scene_begin_anew(&scene);
        open_crew(count);
        assert_int_equal(cells_in_use(), CREW_SCENE_DEVICES);
        caught_log_begin(&log_of_it);
        assert_true(take_over(&sum, &err));
        const char *line = caught_log_line(&log_of_it);
        caught_log_end(&log_of_it);
        assert_int_equal(sum.kept, CREW_SCENE_DEVICES - 2);
        assert_int_equal(sum.torn, 1);
        assert_int_equal(sum.ended, 1);
        assert_int_equal(sum.removed, 0);
        assert_int_equal(cells_in_use(), CREW_SCENE_DEVICES - 2);
        assert_non_null(strstr(line, "level=warning event=sessions_taken_over count=10 torn=1 "));
        assert_non_null(strstr(line, " listener_removed=0 "));
        assert_non_null(strstr(line, " had_ended=1 "));
        assert_int_equal(crew_session_count(&scene.crew), CREW_SCENE_DEVICES - 2);
        for (uint32_t i = 0; i < 2; i++) /* they would wait in vain */
            loopback_device_free(&scene.devices[i]);
        for (uint32_t i = 2; i < CREW_SCENE_DEVICES; i++)
            scene.devices[i - 2] = scene.devices[i];
        scene.device_count -= 2;
        for (uint32_t i = 0; i < scene.device_count; i++)
            scene.devices[i].client->context = &scene.devices[i];
        crew_scene_connect_all(&scene); /* two new ones, too */
        crew_scene_close(&scene);
    }
}

/* The second time nothing is torn any more. */
static void test_all_is_well(void **state)
{
    struct sessions_adopted sum;
    struct err err = {0};
    (void)state;
    crew_scene_open(&scene, 2);
    crew_scene_connect_all(&scene);
    crew_scene_leave(&scene);
    crew_scene_begin_anew(&scene);
    open_crew(2);
    caught_log_begin(&log_of_it);
    assert_true(take_over(&sum, &err));
    const char *line = caught_log_line(&log_of_it);
    caught_log_end(&log_of_it);
    assert_int_equal(sum.kept, CREW_SCENE_DEVICES);
    assert_non_null(strstr(line, "level=info event=sessions_taken_over count=12 torn=0 "));
    crew_scene_close(&scene);
}

/* A bucket of the second worker has a backend address far behind others that have no memory yet. */
static void make_gap(void)
{
    enum { BUCKET = 1, PLACE = 3 * SLOTS_GROUP };
    struct region *region = &scene.state.region;
    size_t at = LAYOUT_SLOTS_AT + (size_t)slots_number_in_state(BUCKET, PLACE) * LAYOUT_SLOT_BYTES;
    assert_true(region_need(region, at, LAYOUT_SLOT_BYTES));
    *(struct backend_slot *)(region->base + at) = (struct backend_slot){.state = SLOT_RESTED};
    fake_memory_refuse(LAYOUT_SLOTS_AT, at / 4096 * 4096);
}

/* The others may have done their part: the next start does it again. */
static void test_one_has_no_memory(void **state)
{
    struct sessions_adopted sum;
    struct err err = {0};
    (void)state;
    crew_scene_open(&scene, 2);
    crew_scene_begin_anew(&scene);
    open_crew(2);
    make_gap();
    assert_false(take_over(&sum, &err));
    assert_non_null(strstr(err.text, "out of memory for the backend addresses of worker 1"));
    fake_memory_refuse(0, 0);
    crew_scene_begin_anew(&scene);
    assert_true(crew_scene_open_crew(&scene, 2, &err));
    crew_scene_connect_all(&scene);
    crew_scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_state_has_none),
        cmocka_unit_test(test_what_became_of_them),
        cmocka_unit_test(test_all_is_well),
        cmocka_unit_test(test_one_has_no_memory),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
