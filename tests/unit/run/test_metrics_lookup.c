/* run/metrics_lookup.c; the worker is the test's. What a real one answers: test_inquiry.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "gate/gate_wolfssl.h"
#include "gate/memory_generation.h"
#include "run/metrics_fixture.h"
#include "run/metrics_lookup.h"
#include "run/watchdog.h"

enum { ANSWERED = 2, FREED_BY_WORKER = 3 };

struct scene {
    struct fixture *gate; /* its counters, of two workers */
    struct swap swap;
    struct metrics_source source;
    struct metrics_lookup lookup;
    struct session_report report; /* that is answered */
    struct inquiry *unanswered;   /* that a worker never came to */
    uint32_t worker, asks;
    uint16_t port; /* that was asked for */
    bool has_no_memory, hangs;
};

/* Answers at once, before the caller waits. */
static bool ask(void *context, uint32_t worker, struct inquiry *inquiry)
{
    struct scene *scene = context;
    scene->worker = worker;
    scene->asks++;
    if (scene->has_no_memory)
        return false;
    inquiry_ask(inquiry);
    if (scene->hangs) {
        scene->unanswered = inquiry;
        return true;
    }
    scene->report.slot = slots_number_of_addr(&inquiry->source);
    scene->port = inquiry->source.port;
    inquiry->reports[0] = scene->report;
    inquiry->count = 1;
    atomic_store(&inquiry->state, ANSWERED);
    inquiry->wake(inquiry->context);
    return true;
}

static struct scene *scene_of(void **state, const char *metrics_sessions)
{
    struct scene *scene = *state;
    char ini[256];
    snprintf(ini, sizeof(ini),
             "[gate]\nmetrics_sessions = %s\ntombstone = 50s\n[listener coaps]\nlisten = "
             "127.0.0.1:5684\nbackend = 127.0.0.1:5683\npsk_file = @psk\n",
             metrics_sessions);
    swap_init(&scene->swap, memory_generation(ini));
    scene->source = scene->gate->source;
    scene->source.swap = &scene->swap;
    scene->source.ask = ask;
    scene->source.context = scene;
    assert_true(metrics_lookup_open(&scene->lookup, &scene->source));
    return scene;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    void *fixture = NULL;
    assert_non_null(scene);
    metrics_fixture_set_up(&fixture);
    scene->gate = fixture;
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    void *fixture = scene->gate;
    metrics_lookup_close(&scene->lookup);
    swap_deinit(&scene->swap);
    metrics_fixture_tear_down(&fixture);
    free(scene);
    return 0;
}

static void assert_answer(struct metrics_lookup_answer answer, unsigned status, const char *part)
{
    const char *text = answer.text != NULL ? answer.text : answer.fixed;
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.is_json, answer.text != NULL);
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not say '%s'", text, part);
    free(answer.text);
}

static void a_session_is_whose_address_it_is(void **state)
{
    struct scene *scene = scene_of(state, "on");
    scene->report = (struct session_report){.kind = REPORT_SESSION,
                                            .number = 77,
                                            .began_ms = 0x1000,
                                            .identity = "dev",
                                            .identity_len = 3};
    struct metrics_lookup_answer answer = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    assert_int_equal(scene->worker, 1);
    assert_int_equal(scene->report.slot, 0x010001);
    assert_true(answer.max_age_s == 50);
    assert_string_equal(answer.etag, "W/\"session-77-1000\"");
    assert_answer(answer, 200, "\"identity\": \"dev\"");
    assert_int_equal(scene->port, 0);
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.2:40000"), 200, "\"dev\"");
    assert_int_equal(scene->port, 40000);
    assert_int_equal(scene->worker, 0);
}

static void a_tombstone_is_true_for_the_rest_of_its_time(void **state)
{
    struct scene *scene = scene_of(state, "on");
    scene->report = (struct session_report){.kind = REPORT_TOMBSTONE,
                                            .reason = CLOSE_idle,
                                            .began_ms = 0x2000,
                                            .silent_ms = 20500,
                                            .rest_ms = 29500};
    struct metrics_lookup_answer answer = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    assert_true(answer.max_age_s == 29);
    assert_string_equal(answer.etag, "W/\"ended-10001-2000-idle\"");
    assert_answer(answer, 200, "\"reason\": \"idle\"");
}

static void assert_another_etag(struct scene *scene, const struct session_report *other)
{
    struct metrics_lookup_answer before = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    struct metrics_lookup_answer same = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    scene->report = *other;
    struct metrics_lookup_answer after = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    assert_string_equal(same.etag, before.etag);
    assert_string_not_equal(after.etag, before.etag);
    free(before.text);
    free(same.text);
    free(after.text);
}

/* Numbers begin anew with a new state, and one session may end like another one. */
static void another_session_has_another_etag(void **state)
{
    struct scene *scene = scene_of(state, "on");
    struct session_report session = {.kind = REPORT_SESSION, .number = 1, .began_ms = 5};
    struct session_report tombstone = {
        .kind = REPORT_TOMBSTONE, .reason = CLOSE_idle, .began_ms = 5};
    scene->report = session;
    session.began_ms = 6;
    assert_another_etag(scene, &session);
    session.number = 2;
    assert_another_etag(scene, &session);
    assert_another_etag(scene, &tombstone);
    tombstone.began_ms = 6;
    assert_another_etag(scene, &tombstone);
    tombstone.reason = CLOSE_shutdown;
    assert_another_etag(scene, &tombstone);
}

static void nobody_may_be_somebody_in_a_moment(void **state)
{
    struct scene *scene = scene_of(state, "on");
    struct metrics_lookup_answer answer = metrics_lookup_session(&scene->lookup, "127.1.0.1");
    assert_true(answer.max_age_s == 0);
    assert_string_equal(answer.etag, "");
    assert_answer(answer, 404, "\"state\": \"nobody\"");
}

static void who_is_told_nothing(void **state)
{
    struct scene *scene = scene_of(state, "off");
    scene->report.kind = REPORT_SESSION;
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.1"), 404,
                  "metrics_sessions is off");
}

static void what_is_no_address(void **state)
{
    static const char *const texts[] = {"", "127.1.2", "192.0.2.1", "127.1.0.0/16", "::1", "x"};
    struct scene *scene = scene_of(state, "on");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_answer(metrics_lookup_session(&scene->lookup, texts[i]), 400, "127.1.2.3");
}

/* It comes to it in the end, when nobody waits any more; and its wake confuses no other. */
static void a_worker_that_hangs(void **state)
{
    struct scene *scene = scene_of(state, "on");
    struct timespec before, after;
    scene->hangs = true;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.1"), 503, "does not answer");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_in_range(after.tv_sec - before.tv_sec, 0, 5);
    assert_int_equal(atomic_load(&scene->unanswered->state), FREED_BY_WORKER);
    scene->unanswered->wake(scene->unanswered->context);
    free(scene->unanswered);
    scene->hangs = false;
    scene->report.kind = REPORT_SESSION;
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.1"), 200, "established");
    /* One that is known to hang is not waited for: probes of the gate's health are behind. */
    uint32_t asks = scene->asks;
    atomic_store(&scene->gate->workers[1].seen_ms,
                 (uint64_t)before.tv_sec * 1000 - WATCHDOG_LATE_MS);
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.1"), 503, "does not answer");
    assert_int_equal(scene->asks, asks);
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.2"), 200, "established");
    atomic_store(&scene->gate->workers[1].seen_ms, 0);
    scene->has_no_memory = true;
    assert_answer(metrics_lookup_session(&scene->lookup, "127.1.0.1"), 503, "does not answer");
}

static void the_status_is_told_to_everybody(void **state)
{
    struct scene *scene = scene_of(state, "off");
    atomic_store(&scene->gate->counters[1][0].sessions, 5);
    assert_answer(metrics_lookup_status(&scene->lookup), 200, "\"listener\": \"coaps\"");
    assert_answer(metrics_lookup_status(&scene->lookup), 200, "\"sessions\": 5");
    assert_answer(metrics_lookup_status(&scene->lookup), 200, "\"workers\": 2");
}

#define LOOKUP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOKUP_TEST(a_session_is_whose_address_it_is),
        LOOKUP_TEST(a_tombstone_is_true_for_the_rest_of_its_time),
        LOOKUP_TEST(another_session_has_another_etag),
        LOOKUP_TEST(nobody_may_be_somebody_in_a_moment),
        LOOKUP_TEST(who_is_told_nothing),
        LOOKUP_TEST(what_is_no_address),
        LOOKUP_TEST(a_worker_that_hangs),
        LOOKUP_TEST(the_status_is_told_to_everybody),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
