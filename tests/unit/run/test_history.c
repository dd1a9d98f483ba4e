/* run/history.c and what run/history_json.c tells of it; counters and time are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/history.h"
#include "run/history_json.h"
#include "run/metrics_fixture.h"

enum { BEGIN_MS = 1000000 };

struct scene {
    struct fixture *gate;
    struct history *history;
    struct history_source source;
    uint64_t now_ms;
};

static struct scene scene; /* one test at a time */

static int set_up(void **state)
{
    metrics_fixture_set_up(state);
    struct fixture *f = *state;
    for (uint32_t i = 0; i < LISTENERS; i++)
        f->generation.by_number[i] = &f->listeners[i];
    scene = (struct scene){
        .gate = f,
        .history = history_new(),
        .source = {.workers = f->worker_pointers, .worker_count = WORKERS},
        .now_ms = BEGIN_MS,
    };
    assert_non_null(scene.history);
    return 0;
}

static int tear_down(void **state)
{
    history_free(scene.history);
    return metrics_fixture_tear_down(state);
}

static void look(void)
{
    history_look(scene.history, &scene.source, &scene.gate->generation, scene.now_ms);
}

static void pass(uint64_t ms)
{
    scene.now_ms += ms;
    look();
}

static json_t *told(void)
{
    json_t *json = history_json(scene.history, &scene.gate->generation, scene.now_ms);
    assert_non_null(json);
    return json;
}

static json_int_t step_of(const json_t *series, size_t i)
{
    const json_t *step = json_array_get(series, i);
    assert_true(json_is_integer(step));
    return json_integer_value(step);
}

static const json_t *series(const json_t *json, const char *family, const char *name)
{
    return json_object_get(json_object_get(json_object_get(json, family), name), "steps");
}

static void steps_are_what_was_added(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 100); /* before */
    look();
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 3);
    counter_add(&f->counters[1][1].client[CLIENT_forwarded], 4);
    counter_add(&f->counters[1][0].handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_established],
                2);
    counter_add(&f->counters[1][0].resumptions[VERSION_1_3][CREDENTIAL_PSK], 5);
    counter_add(&f->counters[0][0].handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_timeout], 1);
    counter_add(&f->counters[0][0].sessions, 7);
    counter_add(&f->counters[0][LISTENERS].backend[BACKEND_wrong_sender], 9); /* of no listener */
    pass(HISTORY_STEP_MS - 1);
    assert_int_equal(history_length(scene.history), 0);
    pass(1);
    counter_subtract(&f->counters[0][0].sessions, 6);
    pass(HISTORY_STEP_MS);
    json_t *json = told();
    assert_int_equal(json_integer_value(json_object_get(json, "steps")), 2);
    assert_int_equal(step_of(series(json, "client", "forwarded"), 0), 7);
    assert_int_equal(step_of(series(json, "client", "forwarded"), 1), 0);
    assert_int_equal(step_of(series(json, "handshakes", "established"), 0), 7);
    assert_int_equal(step_of(series(json, "handshakes", "timeout"), 0), 1);
    assert_int_equal(step_of(series(json, "backend", "wrong_sender"), 0), 9);
    assert_int_equal(step_of(json_object_get(json, "sessions"), 0), 7);
    assert_int_equal(step_of(json_object_get(json, "sessions"), 1), 1);
    assert_null(series(json, "client", "not_dtls"));
    const json_t *total =
        json_object_get(json_object_get(json_object_get(json, "client"), "forwarded"), "total");
    assert_int_equal(json_integer_value(total), 107);
    const json_t *first = json_array_get(json_object_get(json, "listeners"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "listener")), "coaps");
    assert_int_equal(step_of(json_object_get(first, "from_client"), 0), 3);
    assert_int_equal(step_of(json_object_get(first, "established"), 0), 7);
    assert_int_equal(step_of(json_object_get(first, "failed"), 0), 1);
    json_decref(json);
}

static void it_keeps_an_hour(void **state)
{
    struct fixture *f = *state;
    look();
    for (int i = 0; i < HISTORY_STEPS + 5; i++) {
        counter_add(&f->counters[0][0].client[CLIENT_not_dtls], (uint64_t)i);
        pass(HISTORY_STEP_MS);
    }
    json_t *json = told();
    const json_t *steps = series(json, "client", "not_dtls");
    assert_int_equal(json_array_size(steps), HISTORY_STEPS);
    assert_int_equal(step_of(steps, 0), 5);
    assert_int_equal(step_of(steps, HISTORY_STEPS - 1), HISTORY_STEPS + 4);
    json_decref(json);
}

/* A number that becomes another listener's begins at zero; a listener that is gone is not told. */
static void a_counter_that_falls_is_no_rise(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 100);
    look();
    atomic_store(&f->counters[0][0].client[CLIENT_forwarded], 1);
    pass(HISTORY_STEP_MS);
    f->generation.by_number[0] = NULL;
    pass(HISTORY_STEP_MS);
    json_t *json = told();
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(scene.history->steps[i][CLIENT_forwarded], 0);
    assert_int_equal(json_array_size(json_object_get(json, "listeners")), 1);
    json_decref(json);
}

/* ---- listeners that go and come ---------------------------------------------------------------
 */

static void devices_send_at_both(struct fixture *f, uint64_t first, uint64_t second)
{
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], first);
    counter_add(&f->counters[1][1].client[CLIENT_forwarded], second);
    pass(HISTORY_STEP_MS);
}

static void assert_forwarded(json_int_t newest_step, json_int_t total)
{
    json_t *json = told();
    const json_t *forwarded = json_object_get(json_object_get(json, "client"), "forwarded");
    const json_t *steps = json_object_get(forwarded, "steps");
    assert_int_equal(step_of(steps, json_array_size(steps) - 1), newest_step);
    assert_int_equal(json_integer_value(json_object_get(forwarded, "total")), total);
    json_decref(json);
}

/* What the others do is told as ever, and so is the end of its sessions. */
static void a_listener_that_goes_takes_nothing_along(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1000); /* by processes before */
    counter_add(&f->counters[1][0].sessions, 2);
    look();
    devices_send_at_both(f, 10, 4);
    assert_forwarded(14, 1014);
    f->generation.by_number[0] = NULL;
    counter_add(&f->counters[1][0].closed[CLOSE_listener_removed], 2);
    counter_subtract(&f->counters[1][0].sessions, 2);
    devices_send_at_both(f, 0, 5);
    assert_forwarded(5, 1019);
    json_t *json = told();
    assert_int_equal(step_of(series(json, "closed", "listener_removed"), 1), 2);
    assert_int_equal(step_of(json_object_get(json, "sessions"), 0), 2);
    assert_int_equal(step_of(json_object_get(json, "sessions"), 1), 0);
    json_decref(json);
}

/* It has its old number and its old counters. */
static void a_listener_that_comes_back_brings_nothing_along(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1000);
    look();
    f->generation.by_number[0] = NULL;
    devices_send_at_both(f, 0, 5);
    f->generation.by_number[0] = &f->listeners[0];
    devices_send_at_both(f, 2, 6);
    assert_forwarded(8, 1013);
}

/* One that a process before had removed: what it counted then belongs to the total alone. */
static void a_listener_that_comes_late_brings_no_step_along(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1000);
    f->generation.by_number[0] = NULL;
    look();
    devices_send_at_both(f, 0, 5);
    assert_forwarded(5, 5);
    f->generation.by_number[0] = &f->listeners[0];
    devices_send_at_both(f, 0, 6);
    assert_forwarded(6, 1011);
    devices_send_at_both(f, 3, 4);
    assert_forwarded(7, 1018);
}

/* The number of one that is gone is given to another one: its counters begin at zero. */
static void a_number_that_another_listener_gets(void **state)
{
    struct fixture *f = *state;
    counter_add(&f->counters[0][0].client[CLIENT_forwarded], 1000);
    look();
    f->generation.by_number[0] = NULL;
    devices_send_at_both(f, 0, 5);
    f->generation.by_number[0] = &f->listeners[0];
    atomic_store(&f->counters[0][0].client[CLIENT_forwarded], 0);
    pass(1000);
    devices_send_at_both(f, 7, 6);
    assert_forwarded(13, 1018);
}

/* ---- backends ------------------------------------------------------------------------------- */

static void assert_backend(const char *wanted, double since_s)
{
    json_t *object = json_object();
    history_json_set_backend(&object, scene.history, 0, scene.now_ms);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "backend_state")), wanted);
    const json_t *since = json_object_get(object, "backend_state_s");
    assert_int_equal(since != NULL, since_s >= 0);
    if (since != NULL)
        assert_true(json_real_value(since) == since_s);
    json_decref(object);
}

static void devices_send(struct fixture *f)
{
    counter_add(&f->counters[1][0].client[CLIENT_forwarded], 1);
    pass(1000);
}

static void a_backend_that_answers_nobody_is_silent(void **state)
{
    struct fixture *f = *state;
    look();
    assert_backend("unused", -1);
    devices_send(f);
    assert_backend("answers", -1); /* nothing is overdue */
    pass(100000);
    assert_backend("answers", -1); /* one datagram, which may be an acknowledgement */
    devices_send(f);
    assert_backend("answers", -1);
    devices_send(f);
    assert_backend("silent", 102);
    counter_add(&f->counters[0][0].backend[BACKEND_late], 1); /* an answer, though nobody's */
    pass(1000);
    assert_backend("answers", -1);
    for (int i = 0; i < 15; i++)
        devices_send(f);
    assert_backend("answers", -1);
    devices_send(f);
    assert_backend("silent", 15);
}

static void a_backend_that_refuses_is_down_until_it_answers(void **state)
{
    struct fixture *f = *state;
    look();
    devices_send(f);
    counter_add(&f->counters[0][0].backend_icmp_errors, 1);
    pass(1000);
    assert_backend("refuses", 0);
    pass(5000);
    assert_backend("refuses", 5);
    counter_add(&f->counters[0][0].backend[BACKEND_forwarded], 1);
    pass(1000);
    assert_backend("answers", -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steps_are_what_was_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_keeps_an_hour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_counter_that_falls_is_no_rise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_listener_that_goes_takes_nothing_along, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_listener_that_comes_back_brings_nothing_along, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_listener_that_comes_late_brings_no_step_along, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_number_that_another_listener_gets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backend_that_answers_nobody_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backend_that_refuses_is_down_until_it_answers, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
