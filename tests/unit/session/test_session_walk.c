/* Walks over sessions that begin and end meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gate/gate_wolfssl.h"
#include "session/session_end.h"
#include "session/session_scene.h"
#include "session/session_walk.h"

enum { MANY = 200 };

static void begin(struct session_scene *scene, struct session **sessions, unsigned first,
                  unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct scene_device device = scene_device_at(i);
        sessions[i] = scene_begin_well(scene, &device);
    }
}

static void end(struct session_scene *scene, struct session *s)
{
    session_end(&scene->all, s, CLOSE_idle, false, scene->now_ms);
    sessions_reap(&scene->all);
}

static void nobody_is_there(void **state)
{
    struct session_scene *scene = *state;
    struct session_cursor cursor;
    session_walk_begin(&scene->all, &cursor);
    assert_null(session_walk_next(&scene->all, &cursor));
    assert_null(session_walk_next(&scene->all, &cursor));
    assert_null(scene->all.cursors);
}

static void all_in_the_order_in_which_they_began(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    struct session_cursor cursor;
    begin(scene, sessions, 0, 10);
    session_walk_begin(&scene->all, &cursor);
    for (unsigned i = 0; i < 5; i++)
        assert_ptr_equal(session_walk_next(&scene->all, &cursor), sessions[i]);
    begin(scene, sessions, 10, 5); /* they have their turn, too */
    for (unsigned i = 5; i < 15; i++)
        assert_ptr_equal(session_walk_next(&scene->all, &cursor), sessions[i]);
    assert_null(session_walk_next(&scene->all, &cursor));
    assert_null(scene->all.cursors);
}

/* The visited one, the next one, some further on, those that have been visited. */
static void sessions_end_under_it(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    struct session_cursor cursor;
    begin(scene, sessions, 0, 9);
    session_walk_begin(&scene->all, &cursor);
    end(scene, sessions[0]);
    struct session *s = session_walk_next(&scene->all, &cursor);
    assert_ptr_equal(s, sessions[1]);
    end(scene, s);
    assert_ptr_equal(session_walk_next(&scene->all, &cursor), sessions[2]);
    end(scene, sessions[3]);
    end(scene, sessions[4]);
    end(scene, sessions[6]);
    assert_ptr_equal(session_walk_next(&scene->all, &cursor), sessions[5]);
    end(scene, sessions[2]);
    assert_ptr_equal(session_walk_next(&scene->all, &cursor), sessions[7]);
    end(scene, sessions[8]);
    assert_null(session_walk_next(&scene->all, &cursor));
}

/* Looking for the least recently used one disturbs nobody; two walks do not disturb each other. */
static void walks_at_once(void **state)
{
    static struct session *sessions[MANY];
    struct session_scene *scene = *state;
    struct session_cursor slow, fast;
    unsigned slow_count = 0, fast_count = 0;
    scene->all.max = MANY;
    begin(scene, sessions, 0, MANY);
    session_walk_begin(&scene->all, &slow);
    session_walk_begin(&scene->all, &fast);
    for (struct session *s; (s = session_walk_next(&scene->all, &fast)) != NULL; fast_count++) {
        assert_ptr_equal(s, sessions[fast_count]);
        if (fast_count % 3 == 0)
            assert_ptr_equal(session_walk_next(&scene->all, &slow), sessions[slow_count++]);
        (void)session_store_least_used(&scene->all);
    }
    assert_int_equal(fast_count, MANY);
    assert_ptr_equal(scene->all.cursors, &slow);
    assert_ptr_equal(session_walk_next(&scene->all, &slow), sessions[slow_count]);
    session_walk_end(&scene->all, &slow);
    session_walk_end(&scene->all, &slow);
    assert_null(scene->all.cursors);
    assert_null(session_walk_next(&scene->all, &slow));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_there),
        TEST(all_in_the_order_in_which_they_began),
        TEST(sessions_end_under_it),
        TEST(walks_at_once),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("session_walk", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
