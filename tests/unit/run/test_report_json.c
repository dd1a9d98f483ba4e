/* run/report_json.c: the status. What else it tells is in test_control_task.c and
 * test_metrics_lookup.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "run/metrics_fixture.h"
#include "run/reload.h"
#include "run/watchdog.h"

enum { MANY = 50, LIMIT_MS = 500 };

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct generation *many_listeners(void)
{
    char ini[MANY * 100];
    size_t len = 0;
    for (int i = 0; i < MANY; i++)
        len += (size_t)snprintf(ini + len, sizeof(ini) - len,
                                "[listener l%d]\nlisten = 127.0.0.1:%d\nbackend = "
                                "127.0.0.1:5683\npsk_file = @psk\n",
                                i, 5684 + i);
    return memory_generation(ini);
}

static void assert_unresponsive(const json_t *status, int worker)
{
    const json_t *list = json_object_get(json_object_get(status, "gate"), "workers_unresponsive");
    assert_true(json_is_array(list));
    assert_int_equal(json_array_size(list), worker < 0 ? 0 : 1);
    if (worker >= 0)
        assert_int_equal(json_integer_value(json_array_get(list, 0)), worker);
}

static json_int_t sessions_of(const json_t *object)
{
    return json_integer_value(json_object_get(object, "sessions"));
}

/* However many listeners there are, and though a worker hangs in the middle of a batch. */
static void status_waits_for_no_worker(void **state)
{
    static struct counters counters[WORKERS][MANY + 1];
    struct fixture *f = *state;
    struct generation *generation = many_listeners();
    const struct report_gate gate = {
        .start = &f->start,
        .reloads = &f->swap.record,
        .generation = generation,
        .workers = f->worker_pointers,
        .worker_count = WORKERS,
        .drains = &f->drains,
    };
    for (int w = 0; w < WORKERS; w++)
        f->workers[w].by_listener = counters[w];
    counter_add(&counters[0][0].sessions, 2);
    counter_add(&counters[0][MANY - 1].sessions, 3);
    counter_add(&counters[1][MANY - 1].sessions, 5);
    uint64_t began_ms = clock_ms();
    atomic_store(&f->workers[0].seen_ms, began_ms);
    counters_begin_turn(&f->workers[1]);
    json_t *status = report_json_status(&gate);
    assert_in_range(clock_ms() - began_ms, 0, LIMIT_MS);
    assert_unresponsive(status, -1);
    const json_t *listeners = json_object_get(status, "listeners");
    assert_int_equal(json_array_size(listeners), MANY);
    assert_int_equal(sessions_of(json_array_get(listeners, 0)), 2);
    assert_int_equal(sessions_of(json_array_get(listeners, MANY - 1)), 8);
    assert_int_equal(sessions_of(json_object_get(status, "gate")), 10);
    json_decref(status);

    atomic_store(&f->workers[1].seen_ms, began_ms - WATCHDOG_LATE_MS);
    status = report_json_status(&gate);
    assert_unresponsive(status, 1);
    json_decref(status);
    reload_release(generation);
}

/* As it is where it is text; a NUL would end it for a reader in C. */
static void an_identity_is_told_as_it_is(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *text, *digits;
    } rows[] = {
        {"urn:imei:1", 10, "urn:imei:1", NULL},
        {"a\\\"", 3, "a\\\"", NULL},
        {"\xe2\x98\x83", 3, "\xe2\x98\x83", NULL},
        {"\xe2\x98", 2, NULL, "e298"},
        {"a\0b", 3, NULL, "610062"},
        {"", 0, NULL, NULL},
    };
    struct generation *generation = many_listeners();
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct failure failure = {.identity_len = (uint8_t)rows[i].len};
        memcpy(failure.identity, rows[i].bytes, rows[i].len);
        json_t *object = report_json_failure(&failure, generation, 0);
        const char *text = json_string_value(json_object_get(object, "identity"));
        const char *digits = json_string_value(json_object_get(object, "identity_hex"));
        assert_true((text == NULL) == (rows[i].text == NULL));
        assert_true((digits == NULL) == (rows[i].digits == NULL));
        if (text != NULL)
            assert_string_equal(text, rows[i].text);
        if (digits != NULL)
            assert_string_equal(digits, rows[i].digits);
        json_decref(object);
    }
    reload_release(generation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(status_waits_for_no_worker, metrics_fixture_set_up,
                                        metrics_fixture_tear_down),
        cmocka_unit_test(an_identity_is_told_as_it_is),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
