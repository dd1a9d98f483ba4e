/* Starts one after the other in one process: each closes the state as a process does that ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fakes/caught_log.h"
#include "run/state_choice.h"
#include "state/state_starts.h"

struct scene {
    struct state state;
    struct handover handover;
    struct fd_list aside;
    struct caught_log log;
    struct err err;
    int self, memory; /* memory: -1 = none is inherited */
};

static int set_up(void **at)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    *at = scene;
    assert_non_null(scene);
    scene->memory = -1;
    scene->self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    caught_log_begin(&scene->log);
    return 0;
}

static void end_process(struct scene *scene)
{
    state_close(&scene->state);
    handover_close(&scene->handover);
}

static int tear_down(void **at)
{
    struct scene *scene = *at;
    end_process(scene);
    caught_log_end(&scene->log);
    fd_list_close(&scene->aside);
    close(scene->self);
    if (scene->memory >= 0)
        close(scene->memory);
    free(scene);
    return 0;
}

/* What the process before has left in the store. */
static void inherit(struct scene *scene, const char *name, int fd)
{
    struct handover *handover = &scene->handover;
    assert_true(fd_list_add(&handover->inherited, name, dup(fd), &scene->err));
    handover->at = realloc(handover->at, (handover->count + 1) * sizeof(*handover->at));
    assert_non_null(handover->at);
    struct named_fd *item = &handover->at[handover->count++];
    *item = handover->inherited.items[handover->inherited.count - 1];
    item->fd = dup(fd);
}

static enum state_choice start(struct scene *scene, const char *build)
{
    if (scene->memory >= 0)
        inherit(scene, HANDOVER_STATE, scene->memory);
    enum state_choice choice = state_choice_make(&scene->state, &scene->handover,
                                                 handover_take(&scene->handover, HANDOVER_STATE),
                                                 build, scene->self, &scene->aside, &scene->err);
    if (choice == STATE_CHOICE_NEW) {
        if (scene->memory >= 0)
            close(scene->memory);
        scene->memory = fcntl(scene->state.region.fd, F_DUPFD_CLOEXEC, 0);
    }
    return choice;
}

static void get_ready_and_crash(struct scene *scene)
{
    state_starts_note_ready(&scene->state);
    end_process(scene);
}

static void stop(struct scene *scene)
{
    state_starts_note_ready(&scene->state);
    state_starts_note_stop(&scene->state);
    end_process(scene);
}

static void the_first_start_makes_one(void **at)
{
    struct scene *scene = *at;
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    assert_int_equal(state_starts_count(&scene->state), 1);
    assert_string_equal(caught_log_text(&scene->log), "");
}

static void the_next_one_takes_it(void **at)
{
    struct scene *scene = *at;
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    for (uint32_t i = 2; i < 10; i++) {
        stop(scene);
        assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
        assert_int_equal(state_starts_count(&scene->state), i);
    }
    assert_int_equal(scene->aside.count, 0);
}

static void three_crashes_and_it_is_put_aside(void **at)
{
    struct scene *scene = *at;
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    get_ready_and_crash(scene);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
    get_ready_and_crash(scene);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
    get_ready_and_crash(scene);
    assert_string_equal(caught_log_text(&scene->log), "");
    int crashed = dup(scene->memory);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    assert_non_null(strstr(caught_log_text(&scene->log), "event=state_crashed"));
    assert_int_equal(scene->aside.count, 1);
    assert_string_equal(scene->aside.items[0].name, "state-crashed");
    assert_true(fd_list_is_same_file(scene->aside.items[0].fd, crashed));
    close(crashed);
    stop(scene);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
}

static void what_cannot_be_read_is_put_aside(void **at)
{
    struct scene *scene = *at;
    scene->memory = memfd_create("something else", MFD_CLOEXEC);
    int refused = dup(scene->memory);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    assert_non_null(strstr(caught_log_text(&scene->log), "event=state_refused"));
    assert_string_equal(scene->aside.items[0].name, "state-refused");
    assert_true(fd_list_is_same_file(scene->aside.items[0].fd, refused));
    close(refused);
}

/* Of another layout: the header says so. */
static void another_layout_is_put_aside(void **at)
{
    struct scene *scene = *at;
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    scene->state.header->layout = LAYOUT_NUMBER + 1;
    stop(scene);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    const char *text = caught_log_text(&scene->log);
    assert_non_null(strstr(text, "layout 2"));
    assert_non_null(strstr(text, "layout 1"));
}

static void what_was_put_aside_stays_there(void **at)
{
    struct scene *scene = *at;
    int old = memfd_create("old", MFD_CLOEXEC);
    inherit(scene, STATE_CHOICE_REFUSED, old);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    assert_int_equal(scene->aside.count, 1);
    assert_true(fd_list_is_same_file(scene->aside.items[0].fd, old));
    close(old);
}

static void another_process_has_it(void **at)
{
    struct scene *scene = *at;
    struct state other;
    assert_true(state_create(&other, &scene->err));
    scene->memory = dup(other.region.fd);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_FAILED);
    assert_non_null(strstr(scene->err.text, "another process"));
    assert_int_equal(scene->aside.count, 0);
    state_close(&other);
}

static void a_build_that_does_not_come_up_gives_way(void **at)
{
    struct scene *scene = *at;
    int old_program = memfd_create("program", MFD_CLOEXEC);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    stop(scene);
    for (int i = 0; i < 2; i++) {
        inherit(scene, HANDOVER_BINARY, old_program);
        assert_int_equal(start(scene, "2.0"), STATE_CHOICE_TAKEN);
        end_process(scene);
    }
    inherit(scene, HANDOVER_BINARY, old_program);
    assert_int_equal(start(scene, "2.0"), STATE_CHOICE_GO_BACK);
    assert_non_null(strstr(caught_log_text(&scene->log), "event=gate_goes_back"));
    assert_non_null(fd_list_find(&scene->handover.inherited, HANDOVER_STATE));
    end_process(scene);
    inherit(scene, HANDOVER_BINARY, old_program);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
    close(old_program);
}

/* It is the program that was ready last itself. */
static void there_may_be_nothing_to_go_back_to(void **at)
{
    struct scene *scene = *at;
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    end_process(scene);
    for (int i = 0; i < 2; i++) {
        inherit(scene, HANDOVER_BINARY, scene->self);
        assert_int_equal(start(scene, "1.0"), STATE_CHOICE_TAKEN);
        end_process(scene);
    }
    inherit(scene, HANDOVER_BINARY, scene->self);
    assert_int_equal(start(scene, "1.0"), STATE_CHOICE_NEW);
    assert_string_equal(scene->aside.items[0].name, "state-crashed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_start_makes_one),
        TEST(the_next_one_takes_it),
        TEST(three_crashes_and_it_is_put_aside),
        TEST(what_cannot_be_read_is_put_aside),
        TEST(another_layout_is_put_aside),
        TEST(what_was_put_aside_stays_there),
        TEST(another_process_has_it),
        TEST(a_build_that_does_not_come_up_gives_way),
        TEST(there_may_be_nothing_to_go_back_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
