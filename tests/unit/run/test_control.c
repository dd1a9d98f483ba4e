/* run/control.c: clients of the control socket that are slow, many, wrong or gone. The clock is the
 * test's, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gate/gate_wolfssl.h"
#include "run/command.h"
#include "run/control_scene.h"
#include "run/control_socket.h"

enum {
    CLIENTS_MAX = 32, /* as docs/control.md says */
    IDLE_S = 60,
    WORKER_S = 10,
};

static const char no_command[] =
    "{\"done\":true,\"ok\":false,\"error\":\"there is no command 'statu'; is it status; dtlsgate "
    "ctl --help lists them\"}\n";
static const char OK[] = "{\"done\":true,\"ok\":true}\n";

/* ---- the clock, which libev asks ------------------------------------------------------------ */

static time_t ahead_s;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += ahead_s;
    return result;
}

static void wait_s(struct control_scene *scene, unsigned seconds)
{
    ahead_s += seconds;
    control_scene_turn(scene);
}

static int tear_down(void **state)
{
    ahead_s = 0;
    return control_scene_tear_down(state);
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void lines_come_in_pieces(void **state)
{
    static const char line[] = "log-level info\n";
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    for (size_t i = 0; line[i] != '\0'; i++) {
        assert_true(control_scene_is_connected(fd));
        control_scene_say(scene, fd, (char[]){line[i], '\0'});
    }
    control_scene_assert_heard(scene, fd, OK);
    control_scene_say(scene, fd, "log-level info\nlog-level info\nlog-");
    char twice[2 * sizeof(OK)];
    snprintf(twice, sizeof(twice), "%s%s", OK, OK);
    control_scene_assert_heard(scene, fd, twice);
    close(fd); /* half a line is no command */
    control_scene_assert_all_gone(scene);
    assert_int_equal(fake_log_count("event=control", NULL), 3);
}

static void what_is_said_before_the_end_is_answered(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    assert_int_equal(send(fd, "log-level info\nlog-", 19, MSG_NOSIGNAL), 19);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    control_scene_assert_heard(scene, fd, OK);
    control_scene_assert_end(scene, fd);
    close(fd);
    control_scene_assert_all_gone(scene);
}

static void a_line_may_be_so_long_and_no_longer(void **state)
{
    struct control_scene *scene = *state;
    char line[COMMAND_LINE_MAX + 2];
    int fd = control_scene_connect(scene);
    memset(line, ' ', sizeof(line));
    memcpy(line, "statu", 5);
    line[COMMAND_LINE_MAX] = '\n';
    line[COMMAND_LINE_MAX + 1] = '\0';
    control_scene_say(scene, fd, line);
    control_scene_assert_heard(scene, fd, no_command);
    line[COMMAND_LINE_MAX] = ' ';
    control_scene_say(scene, fd, line);
    control_scene_assert_heard(scene, fd,
                               "{\"done\":true,\"ok\":false,\"error\":\"the line is too long\"}\n");
    control_scene_assert_end(scene, fd);
    close(fd);
    control_scene_assert_all_gone(scene);
}

static void what_is_no_command_is_said(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "statu\n");
    control_scene_assert_heard(scene, fd, no_command);
    assert_int_equal(send(fd, "log-level\0 info\n", 16, MSG_NOSIGNAL), 16);
    control_scene_assert_heard(scene, fd,
                               "{\"done\":true,\"ok\":false,\"error\":\"a line has no NUL\"}\n");
    control_scene_say(scene, fd, "log-level info\r\n");
    control_scene_assert_heard(scene, fd, OK);
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* ---- many ----------------------------------------------------------------------------------- */

/* One more takes the place of the one that has done nothing for longest, unless it is answered. */
static void one_too_many(void **state)
{
    struct control_scene *scene = *state;
    int fds[CLIENTS_MAX];
    for (int i = 0; i < CLIENTS_MAX; i++)
        fds[i] = control_scene_connect(scene);
    control_scene_say(scene, fds[0], "failures\n");
    assert_non_null(scene->asked);
    control_scene_say(scene, fds[1], "log-level info\n");
    control_scene_assert_heard(scene, fds[1], OK);
    control_scene_say(scene, fds[3], "half a line");
    int more[2] = {control_scene_connect(scene), control_scene_connect(scene)};
    control_scene_assert_end(scene, fds[2]);
    control_scene_assert_end(scene, fds[4]);
    for (int i = 0; i < CLIENTS_MAX; i++)
        assert_int_equal(control_scene_is_connected(fds[i]), i != 2 && i != 4);
    for (int i = 0; i < 2; i++) {
        control_scene_say(scene, more[i], "log-level info\n");
        control_scene_assert_heard(scene, more[i], OK);
        close(more[i]);
    }
    scene->asked->count = 0;
    control_scene_answer(scene);
    control_scene_assert_heard(scene, fds[0], "{\"count\":0,\"done\":true,\"ok\":true}\n");
    for (int i = 0; i < CLIENTS_MAX; i++)
        close(fds[i]);
    control_scene_assert_all_gone(scene);
}

/* If all of them are being answered, one of them has to go all the same. */
static void one_too_many_when_all_wait(void **state)
{
    struct control_scene *scene = *state;
    int fds[CLIENTS_MAX];
    for (int i = 0; i < CLIENTS_MAX; i++) {
        fds[i] = control_scene_connect(scene);
        control_scene_say(scene, fds[i], "reload\n");
    }
    assert_int_equal(scene->actions, CLIENTS_MAX);
    int more = control_scene_connect(scene);
    control_scene_assert_end(scene, fds[0]);
    control_answer_end(scene->action, true, "done");
    control_scene_assert_heard(scene, fds[CLIENTS_MAX - 1],
                               "{\"done\":true,\"ok\":true,\"text\":\"done\"}\n");
    close(more);
    for (int i = 0; i < CLIENTS_MAX; i++)
        close(fds[i]);
}

static void no_descriptor_for_a_client(void **state)
{
    struct control_scene *scene = *state;
    struct rlimit none = scene->descriptors_limit;
    struct err err;
    int fd = control_socket_connect(scene->path, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    control_scene_say(scene, fd, "log-level info\n");
    assert_true(control_scene_is_connected(fd)); /* it waits */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &scene->descriptors_limit), 0);
    wait_s(scene, 1);
    control_scene_assert_heard(scene, fd, OK);
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* ---- slow ----------------------------------------------------------------------------------- */

/* An answer that is far longer than what may wait for its client: no worker is asked for what
 * nobody reads, and in the end nothing is missing. */
static void an_answer_is_told_as_it_is_read(void **state)
{
    enum { SESSIONS = 10000, AT_ONCE = 7000 };
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    char heard[AT_ONCE], last[64] = "";
    uint32_t lines = 0;
    size_t last_len = 0;
    scene->sessions_left = SESSIONS;
    control_scene_say(scene, fd, "sessions\n");
    uint32_t asks = scene->asks;
    assert_in_range(scene->sessions_left, SESSIONS / 2, SESSIONS - 1);
    control_scene_turn(scene);
    assert_int_equal(scene->asks, asks);
    for (ssize_t len; (len = recv(fd, heard, sizeof(heard), 0)) > 0;) {
        for (ssize_t i = 0; i < len; i++) {
            if (last_len < sizeof(last) - 1)
                last[last_len++] = heard[i];
            if (heard[i] != '\n')
                continue;
            last[last_len] = '\0';
            last_len = 0;
            lines++;
        }
        ev_run(scene->loop, EVRUN_NOWAIT);
        ev_run(scene->loop, EVRUN_NOWAIT);
    }
    assert_int_equal(lines, SESSIONS + 1);
    assert_string_equal(last, "{\"count\":10000,\"done\":true,\"ok\":true}\n");
    assert_int_equal(scene->asks, SESSIONS / INQUIRY_REPORTS + 1);
    close(fd);
    control_scene_assert_all_gone(scene);
}

static void who_does_not_read_has_to_go(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    scene->sessions_left = 10000;
    control_scene_say(scene, fd, "sessions\n");
    assert_null(scene->asked);
    wait_s(scene, IDLE_S - 1);
    assert_null(scene->asked);
    wait_s(scene, 2);
    /* The worker has a place in it, and so is told. */
    assert_non_null(scene->asked);
    assert_int_equal(atomic_load(&scene->asked->state), CONTROL_SCENE_GIVEN_UP);
    close(fd);
    control_scene_assert_all_gone(scene);
}

static void who_says_nothing_has_to_go(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    wait_s(scene, IDLE_S - 1);
    assert_true(control_scene_is_connected(fd));
    control_scene_say(scene, fd, "half a line"); /* the time begins anew */
    wait_s(scene, IDLE_S - 1);
    assert_true(control_scene_is_connected(fd));
    wait_s(scene, 2);
    control_scene_assert_end(scene, fd);
    close(fd);
    control_scene_assert_all_gone(scene);
}

static void a_worker_that_hangs(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "failures\n");
    struct inquiry *inquiry = scene->asked;
    wait_s(scene, WORKER_S - 1);
    assert_true(control_scene_is_connected(fd));
    wait_s(scene, 2);
    control_scene_assert_heard(
        scene, fd, "{\"done\":true,\"ok\":false,\"error\":\"worker 0 does not answer\"}\n");
    control_scene_assert_end(scene, fd);
    assert_int_equal(atomic_load(&inquiry->state), CONTROL_SCENE_GIVEN_UP);
    inquiry->wake(inquiry->context); /* as one that answered in that moment */
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* Whatever its client says meanwhile; and each answer of a long walk has the time for itself. */
static void a_worker_has_its_time_for_each_answer(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "sessions\n");
    for (int i = 0; i < 3; i++) {
        wait_s(scene, WORKER_S - 1);
        scene->asked->count = 0;
        scene->asked->is_more = true;
        control_scene_answer(scene);
        control_scene_turn(scene);
    }
    control_scene_say(scene, fd, "log-level ");
    wait_s(scene, WORKER_S - 1);
    control_scene_say(scene, fd, "info");
    wait_s(scene, 2);
    control_scene_assert_heard(
        scene, fd, "{\"done\":true,\"ok\":false,\"error\":\"worker 0 does not answer\"}\n");
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* ---- gone ----------------------------------------------------------------------------------- */

/* It has closed its end: the answer finds nobody. */
static void who_goes_before_the_answer(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "failures\n");
    close(fd);
    control_scene_turn(scene);
    scene->asked->count = 0;
    control_scene_answer(scene);
    control_scene_assert_all_gone(scene);
    assert_null(scene->asked);
}

/* It has not even read what it was told: the socket says so, and the worker need not answer. */
static void who_goes_without_reading(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "log-level info\nfailures\n");
    close(fd);
    control_scene_assert_all_gone(scene);
    assert_int_equal(atomic_load(&scene->asked->state), CONTROL_SCENE_GIVEN_UP);
    scene->asked->wake(scene->asked->context);
    control_scene_turn(scene);
}

/* ---- actions -------------------------------------------------------------------------------- */

static void an_action_takes_its_time(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "reload\nlog-level info\n");
    assert_int_equal(scene->actions, 1);
    wait_s(scene, 100 * IDLE_S);
    assert_true(control_scene_is_connected(fd));
    control_answer_problem(scene->action, true, "odd");
    control_answer_end(scene->action, false, "no");
    char text[256];
    snprintf(text, sizeof(text), "%s%s",
             "{\"problem\":\"odd\",\"is_warning\":true}\n"
             "{\"done\":true,\"ok\":false,\"error\":\"no\"}\n",
             OK);
    control_scene_assert_heard(scene, fd, text);
    control_answer_end(scene->action, true, "twice"); /* it is not its action any more */
    assert_true(control_scene_is_connected(fd));
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* Another client has the place by then, and hears nothing of it. */
static void an_action_whose_client_has_gone(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "log-level info\nreload\n");
    struct control_answer first = scene->action;
    close(fd);
    control_scene_assert_all_gone(scene);
    fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "reload\n");
    control_answer_problem(first, false, "late");
    control_answer_end(first, true, "late");
    assert_int_equal(control_answer_detach(first), -1);
    assert_true(control_scene_is_connected(fd));
    control_answer_end(scene->action, true, "");
    control_scene_assert_heard(scene, fd, OK);
    close(fd);
    control_scene_assert_all_gone(scene);
}

/* As in an upgrade: the next process has the descriptor. */
static void another_process_answers(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    control_scene_say(scene, fd, "reload\n");
    int detached = control_answer_detach(scene->action);
    assert_true(detached >= 0);
    control_close(scene->control);
    scene->control = NULL;
    assert_true(control_scene_is_connected(fd));
    control_answer_end_at(detached, true, "upgraded");
    char heard[100];
    ssize_t len = recv(fd, heard, sizeof(heard) - 1, 0);
    assert_true(len > 0);
    heard[len] = '\0';
    assert_string_equal(heard, "{\"done\":true,\"ok\":true,\"text\":\"upgraded\"}\n");
    assert_int_equal(recv(fd, heard, 1, 0), 0);
    close(fd);
}

/* What still waits for it is lost with this process, perhaps the rest of a line. */
static void who_does_not_read_is_not_handed_on(void **state)
{
    struct control_scene *scene = *state;
    int fd = control_scene_connect(scene);
    for (uint32_t i = 1;; i++) {
        scene->sessions_left = 16;
        control_scene_say(scene, fd, "sessions\nreload\n");
        assert_int_equal(scene->actions, i);
        int detached = control_answer_detach(scene->action);
        if (detached < 0)
            break;
        close(detached);
        control_answer_end(scene->action, true, "");
    }
    assert_true(scene->actions > 1);
    close(fd);
    control_scene_assert_all_gone(scene);
}

#define CONTROL_TEST(test) cmocka_unit_test_setup_teardown(test, control_scene_set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL_TEST(lines_come_in_pieces),
        CONTROL_TEST(what_is_said_before_the_end_is_answered),
        CONTROL_TEST(a_line_may_be_so_long_and_no_longer),
        CONTROL_TEST(what_is_no_command_is_said),
        CONTROL_TEST(one_too_many),
        CONTROL_TEST(one_too_many_when_all_wait),
        CONTROL_TEST(no_descriptor_for_a_client),
        CONTROL_TEST(an_answer_is_told_as_it_is_read),
        CONTROL_TEST(who_does_not_read_has_to_go),
        CONTROL_TEST(who_says_nothing_has_to_go),
        CONTROL_TEST(a_worker_that_hangs),
        CONTROL_TEST(a_worker_has_its_time_for_each_answer),
        CONTROL_TEST(who_goes_before_the_answer),
        CONTROL_TEST(who_goes_without_reading),
        CONTROL_TEST(an_action_takes_its_time),
        CONTROL_TEST(an_action_whose_client_has_gone),
        CONTROL_TEST(another_process_answers),
        CONTROL_TEST(who_does_not_read_is_not_handed_on),
    };
    return cmocka_run_group_tests(tests, gate_wolfssl_set_up, gate_wolfssl_tear_down);
}
