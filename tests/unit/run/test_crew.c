/* Workers as one body: real threads and sockets, devices and a server on the loopback interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>

#include "fakes/fake_memory.h"
#include "gate/gate_wolfssl.h"
#include "run/crew_scene.h"
#include "worker/inquiry.h"

static struct crew_scene scene;

static void test_it_serves_and_says_farewell(void **state)
{
    uint32_t hanging;
    (void)state;
    crew_scene_open(&scene, 2);
    assert_int_equal(scene.crew.count, 2);
    crew_scene_connect_all(&scene);
    assert_true(crew_stop(&scene.crew, WORKER_SAYS_FAREWELL,
                          loopback_clock_ms() + LOOPBACK_LIMIT_MS, &hanging));
    for (uint32_t i = 0; i < scene.device_count; i++) {
        while (scene.devices[i].client->state == CLIENT_UP)
            loopback_device_receive(&scene.devices[i]);
        assert_int_equal(scene.devices[i].client->state, CLIENT_CLOSED);
    }
    assert_int_equal(crew_session_count(&scene.crew), 0);
    crew_scene_close(&scene); /* stops once more, which harms nothing */
}

/* Of another number of workers. */
static void test_the_next_one_goes_on(void **state)
{
    struct err err = {0};
    (void)state;
    crew_scene_open(&scene, 2);
    assert_int_equal(scene.adopted.kept, 0);
    crew_scene_connect_all(&scene);
    assert_int_equal(crew_session_count(&scene.crew), CREW_SCENE_DEVICES);
    crew_scene_leave(&scene);
    assert_int_equal(crew_session_count(&scene.crew), CREW_SCENE_DEVICES);
    crew_scene_begin_anew(&scene);
    assert_true(crew_scene_open_crew(&scene, 3, &err));
    assert_int_equal(scene.crew.count, 3);
    assert_int_equal(scene.adopted.kept, CREW_SCENE_DEVICES);
    assert_int_equal(crew_session_count(&scene.crew), CREW_SCENE_DEVICES);
    uint64_t forwarded = 0;
    for (uint32_t i = 0; i < scene.crew.inherited.listener_count; i++)
        forwarded += counter_get(&scene.crew.inherited.by_listener[i].client[CLIENT_forwarded]);
    assert_int_equal(forwarded, CREW_SCENE_DEVICES); /* datagrams, one each */
    crew_scene_connect_all(&scene);
    crew_scene_close(&scene);
}

static void on_answer(void *context)
{
    (void)context;
}

static void test_each_is_asked(void **state)
{
    uint32_t found = 0;
    (void)state;
    crew_scene_open(&scene, 2);
    crew_scene_connect_all(&scene);
    for (uint32_t w = 0; w < 2; w++) {
        struct inquiry *inquiry = inquiry_new(INQUIRY_SESSIONS, on_answer, NULL);
        inquiry_ask(inquiry);
        assert_true(crew_ask(&scene.crew, w, inquiry));
        uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
        while (!inquiry_is_answered(inquiry) && loopback_clock_ms() < end_ms)
            poll(NULL, 0, 1);
        assert_true(inquiry_is_answered(inquiry));
        assert_false(inquiry->is_more);
        assert_true(inquiry->count < CREW_SCENE_DEVICES); /* the other one has some, too */
        found += inquiry->count;
        assert_true(inquiry_give_up(inquiry));
    }
    assert_int_equal(found, CREW_SCENE_DEVICES);
    crew_scene_close(&scene);
}

static void test_hellos_wait_and_handshakes_go_on(void **state)
{
    struct loopback_device late, slow;
    (void)state;
    crew_scene_open(&scene, 2);
    crew_scene_connect_all(&scene);
    loopback_device_begin(&slow, &scene.listen);
    assert_int_equal(crew_handshake_count(&scene.crew), 0); /* no cookie yet */
    loopback_device_receive(&slow);                         /* here it is */
    uint64_t end_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    while (crew_handshake_count(&scene.crew) == 0 && loopback_clock_ms() < end_ms)
        poll(NULL, 0, 1);
    assert_int_equal(crew_handshake_count(&scene.crew), 1);
    crew_hold_hellos(&scene.crew);
    while (slow.client->state == CLIENT_CONNECTING)
        loopback_device_receive(&slow);
    loopback_device_assert_echo(&slow, scene.server);
    assert_int_equal(crew_handshake_count(&scene.crew), 0);
    poll(NULL, 0, 50); /* until both have heard it */
    loopback_device_begin(&late, &scene.listen);
    struct pollfd readable = {.fd = late.fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 200), 0);
    loopback_device_free(&late);
    loopback_device_free(&slow);
    crew_scene_close(&scene);
}

/* Nothing of it is left, and what was there before it is. */
static void test_no_memory(void **state)
{
    struct err err = {0};
    (void)state;
    crew_scene_open(&scene, 2);
    crew_scene_connect_all(&scene);
    crew_scene_leave(&scene);
    crew_scene_begin_anew(&scene);
    fake_memory_refuse(LAYOUT_COUNTERS_AT(0), LAYOUT_COUNTERS_AT(2));
    assert_false(crew_scene_open_crew(&scene, 8, &err));
    fake_memory_refuse(0, 0);
    assert_true(err.text[0] != '\0');
    assert_null(scene.crew.workers);
    assert_int_equal(scene.crew.count, 0);
    sockets_close(scene.sockets);
    assert_true(crew_scene_open_crew(&scene, 2, &err));
    assert_int_equal(scene.adopted.kept, CREW_SCENE_DEVICES);
    crew_scene_close(&scene);
}

static void test_there_is_none(void **state)
{
    struct crew none = {0};
    uint32_t hanging;
    (void)state;
    assert_int_equal(crew_session_count(&none) + crew_handshake_count(&none), 0);
    crew_hold_hellos(&none);
    assert_true(crew_stop(&none, WORKER_SAYS_FAREWELL, 0, &hanging));
    crew_close(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_serves_and_says_farewell),
        cmocka_unit_test(test_the_next_one_goes_on),
        cmocka_unit_test(test_each_is_asked),
        cmocka_unit_test(test_hellos_wait_and_handshakes_go_on),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_there_is_none),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
