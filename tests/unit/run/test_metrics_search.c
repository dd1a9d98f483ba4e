/* run/metrics_search.c: what becomes of a search that nobody asks for any more. The worker is the
 * test's; what a real one finds: test_inquiry.c, tests/integration/test_status_page.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "run/metrics_fixture.h"
#include "run/metrics_search.h"

enum { ASKED = 1, ANSWERED = 2, FREED_BY_WORKER = 3 };

struct scene {
    struct fixture *gate;
    struct metrics_search search;
    struct inquiry *inquiry; /* that the worker has, and does not come to */
    uint32_t asks;
    bool has_no_memory;
};

static bool ask(void *context, uint32_t worker, struct inquiry *inquiry)
{
    struct scene *scene = context;
    (void)worker;
    scene->asks++;
    if (scene->has_no_memory)
        return false;
    inquiry_ask(inquiry);
    scene->inquiry = inquiry;
    return true;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    void *fixture = NULL;
    assert_non_null(scene);
    metrics_fixture_set_up(&fixture);
    scene->gate = fixture;
    scene->gate->source.ask = ask;
    scene->gate->source.context = scene;
    assert_true(metrics_search_open(&scene->search, &scene->gate->source));
    *state = scene;
    return 0;
}

/* It sees that the generation is nobody's but the main thread's. */
static int tear_down(void **state)
{
    struct scene *scene = *state;
    void *fixture = scene->gate;
    metrics_search_close(&scene->search);
    free(scene->inquiry);
    metrics_fixture_tear_down(&fixture);
    free(scene);
    return 0;
}

static uint32_t references(const struct scene *scene)
{
    return atomic_load(&scene->gate->generation.references);
}

static int state_of(const struct inquiry *inquiry)
{
    return atomic_load(&inquiry->state);
}

/* Somebody asks, is told that it is not over yet, and never asks again. */
static void ask_once(struct scene *scene)
{
    json_t *found = NULL;
    assert_int_equal(metrics_search_ask(&scene->search, "dev", &found), SEARCH_TOLD);
    assert_true(json_is_false(json_object_get(found, "over")));
    json_decref(found);
    assert_int_equal(references(scene), 2);
}

static void forget_after(struct scene *scene, uint64_t ms)
{
    metrics_search_forget_old(&scene->search, scene->search.asked_ms + ms);
}

static void an_old_search_lets_go_of_the_settings(void **state)
{
    struct scene *scene = *state;
    ask_once(scene);
    forget_after(scene, METRICS_SEARCH_KEPT_MS - 1);
    assert_int_equal(references(scene), 2);
    assert_int_equal(state_of(scene->inquiry), ASKED);
    forget_after(scene, METRICS_SEARCH_KEPT_MS);
    assert_int_equal(references(scene), 1);
    /* The worker has it yet, and frees it when it comes to it; what it wakes is still there. */
    assert_int_equal(state_of(scene->inquiry), FREED_BY_WORKER);
    assert_int_equal(scene->asks, 1);
    scene->inquiry->wake(scene->inquiry->context);
    forget_after(scene, 10 * METRICS_SEARCH_KEPT_MS); /* there is nothing to forget */
    assert_int_equal(references(scene), 1);
}

static void an_answer_that_nobody_took(void **state)
{
    struct scene *scene = *state;
    ask_once(scene);
    atomic_store(&scene->inquiry->state, ANSWERED);
    scene->inquiry = NULL; /* it is freed: a leak, or a second free, would be the sanitizer's */
    forget_after(scene, METRICS_SEARCH_KEPT_MS);
    assert_int_equal(references(scene), 1);
    assert_int_equal(scene->asks, 1);
}

/* The worker has a place in it, so it gets it once more. */
static void part_of_an_answer_that_nobody_took(void **state)
{
    struct scene *scene = *state;
    ask_once(scene);
    scene->inquiry->is_more = true;
    atomic_store(&scene->inquiry->state, ANSWERED);
    forget_after(scene, METRICS_SEARCH_KEPT_MS);
    assert_int_equal(references(scene), 1);
    assert_int_equal(scene->asks, 2);
    assert_int_equal(state_of(scene->inquiry), FREED_BY_WORKER);
}

static void another_search_can_begin_then(void **state)
{
    struct scene *scene = *state;
    ask_once(scene);
    struct inquiry *first = scene->inquiry;
    forget_after(scene, METRICS_SEARCH_KEPT_MS);
    json_t *found = NULL;
    assert_int_equal(metrics_search_ask(&scene->search, "other", &found), SEARCH_TOLD);
    json_decref(found);
    assert_ptr_not_equal(scene->inquiry, first);
    assert_int_equal(state_of(first), FREED_BY_WORKER);
    assert_int_equal(references(scene), 2);
    free(first);
}

static void a_search_that_could_not_begin_keeps_nothing(void **state)
{
    struct scene *scene = *state;
    json_t *found = NULL;
    scene->has_no_memory = true;
    assert_int_equal(metrics_search_ask(&scene->search, "dev", &found), SEARCH_TOLD);
    assert_true(json_is_false(json_object_get(found, "complete")));
    json_decref(found);
    assert_int_equal(references(scene), 1);
}

#define SEARCH_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEARCH_TEST(an_old_search_lets_go_of_the_settings),
        SEARCH_TEST(an_answer_that_nobody_took),
        SEARCH_TEST(part_of_an_answer_that_nobody_took),
        SEARCH_TEST(another_search_can_begin_then),
        SEARCH_TEST(a_search_that_could_not_begin_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
