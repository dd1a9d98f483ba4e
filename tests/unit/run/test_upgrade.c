/* The moment in which the loop is left for another version: no signal is lost, and who is told to
 * end does so. The version that is asked is a program that agrees to everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "run/signals.h"
#include "run/upgrade.h"

struct scene {
    struct upgrade upgrade;
    struct program program;
    struct signals signals;
    struct crew crew; /* of nobody */
    struct upgrade_record record;
    uint32_t told_to_end;
};

static void end(void *context, const char *signal)
{
    struct scene *scene = context;
    (void)signal;
    scene->told_to_end++;
    upgrade_stop(&scene->upgrade);
    ev_break(scene->upgrade.loop, EVBREAK_ALL);
}

static void ignore(void *context)
{
    (void)context;
}

static void set_up(struct scene *scene)
{
    static char name[] = "true";
    static char *argv[] = {name, NULL};
    const struct signal_actions actions = {
        .end = end, .reload = ignore, .upgrade = ignore, .context = scene};
    *scene = (struct scene){.program = {.path = "/bin/true", .argv = argv}};
    scene->upgrade = (struct upgrade){
        .loop = ev_default_loop(EVFLAG_AUTO),
        .program = &scene->program,
        .config_path = "dtlsgate.ini",
        .state = memfd_create("state", MFD_CLOEXEC),
        .crew = &scene->crew,
        .record = &scene->record,
        .asker = -1,
    };
    signals_watch(&scene->signals, &actions, scene->upgrade.loop);
}

static void tear_down(struct scene *scene)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 0; i < SIGNALS; i++)
        ev_signal_stop(scene->upgrade.loop, &scene->signals.watchers[i]);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(scene->upgrade.state);
}

static void test_signals_wait_for_the_next_program(void **state)
{
    struct scene scene;
    sigset_t waiting;
    (void)state;
    set_up(&scene);
    upgrade_begin(&scene.upgrade, NULL);
    ev_run(scene.upgrade.loop, 0);
    assert_true(scene.upgrade.is_due);
    raise(SIGTERM);
    raise(SIGHUP);
    assert_int_equal(sigpending(&waiting), 0);
    assert_true(sigismember(&waiting, SIGTERM) && sigismember(&waiting, SIGHUP));
    signal(SIGTERM, SIG_IGN); /* forgets it */
    signal(SIGHUP, SIG_IGN);
    tear_down(&scene);
}

/* Comes before anything else of the last turn, and after the kernel was asked for signals. */
static void raise_at_the_end(struct ev_loop *loop, ev_check *watcher, int events)
{
    const struct scene *scene = watcher->data;
    (void)loop;
    (void)events;
    if (scene->upgrade.is_waiting && scene->told_to_end == 0)
        raise(SIGTERM);
}

static void test_a_signal_just_before_that_ends_the_gate(void **state)
{
    struct scene scene;
    ev_check check;
    (void)state;
    set_up(&scene);
    ev_check_init(&check, raise_at_the_end);
    check.data = &scene;
    ev_check_start(scene.upgrade.loop, &check);
    upgrade_begin(&scene.upgrade, NULL);
    ev_run(scene.upgrade.loop, 0);
    assert_true(scene.told_to_end > 0);
    assert_false(scene.upgrade.is_due);
    ev_check_stop(scene.upgrade.loop, &check);
    tear_down(&scene);
}

static void stop(struct scene *scene)
{
    scene->told_to_end++;
    upgrade_stop(&scene->upgrade);
    ev_break(scene->upgrade.loop, EVBREAK_ALL);
}

/* As dtlsgate ctl stop: in the very turn that leaves the loop for the upgrade, after that. */
static void stop_if_due(struct ev_loop *loop, ev_check *watcher, int events)
{
    struct scene *scene = watcher->data;
    (void)loop;
    (void)events;
    if (scene->upgrade.is_due)
        stop(scene);
}

static void test_a_stop_just_after_that_ends_the_gate(void **state)
{
    struct scene scene;
    ev_check check;
    (void)state;
    set_up(&scene);
    ev_check_init(&check, stop_if_due);
    ev_set_priority(&check, EV_MINPRI);
    check.data = &scene;
    ev_check_start(scene.upgrade.loop, &check);
    upgrade_begin(&scene.upgrade, NULL);
    ev_run(scene.upgrade.loop, 0);
    assert_int_equal(scene.told_to_end, 1);
    assert_false(scene.upgrade.is_due);
    ev_check_stop(scene.upgrade.loop, &check);
    tear_down(&scene);
}

/* Who asked is already the next process's to answer. */
static void test_who_asked_hears_of_the_end(void **state)
{
    struct scene scene;
    int ends[2];
    char heard[256] = "";
    (void)state;
    set_up(&scene);
    upgrade_begin(&scene.upgrade, NULL);
    ev_run(scene.upgrade.loop, 0);
    assert_true(scene.upgrade.is_due);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    scene.upgrade.asker = ends[0];
    upgrade_stop(&scene.upgrade);
    assert_false(scene.upgrade.is_due);
    assert_int_equal(scene.upgrade.asker, -1);
    assert_true(recv(ends[1], heard, sizeof(heard) - 1, MSG_DONTWAIT) > 0);
    assert_non_null(strstr(heard, "the gate was told to end"));
    close(ends[1]);
    tear_down(&scene);
}

/* Later in the turn that ends the gate. */
static void test_no_upgrade_begins_after_the_end(void **state)
{
    struct scene scene;
    (void)state;
    set_up(&scene);
    stop(&scene);
    upgrade_begin(&scene.upgrade, NULL);
    assert_false(upgrade_check_runs(&scene.upgrade.check));
    tear_down(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_signal_just_before_that_ends_the_gate),
        cmocka_unit_test(test_a_stop_just_after_that_ends_the_gate),
        cmocka_unit_test(test_who_asked_hears_of_the_end),
        cmocka_unit_test(test_no_upgrade_begins_after_the_end),
        cmocka_unit_test(test_signals_wait_for_the_next_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
