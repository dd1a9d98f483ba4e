#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate/memory_generation.h"
#include "run/control_scene.h"
#include "run/control_socket.h"
#include "run/reload.h"

enum { TURNS = 200 }; /* of the event loop: more than anything here takes */

/* ---- the gate around it --------------------------------------------------------------------- */

void control_scene_answer(struct control_scene *scene)
{
    struct inquiry *inquiry = scene->asked;
    scene->asked = NULL;
    atomic_store(&inquiry->state, CONTROL_SCENE_ANSWERED);
    inquiry->wake(inquiry->context);
}

static bool take_mail(void *context, uint32_t worker, struct inquiry *inquiry)
{
    struct control_scene *scene = context;
    assert_int_equal(worker, 0);
    assert_null(scene->asked);
    inquiry_ask(inquiry);
    scene->asked = inquiry;
    scene->asks++;
    if (scene->sessions_left == 0 || atomic_load(&inquiry->state) == CONTROL_SCENE_GIVEN_UP)
        return true;
    inquiry->count =
        scene->sessions_left < INQUIRY_REPORTS ? scene->sessions_left : INQUIRY_REPORTS;
    scene->sessions_left -= inquiry->count;
    inquiry->is_more = scene->sessions_left != 0;
    for (uint32_t i = 0; i < inquiry->count; i++)
        inquiry->reports[i] = (struct session_report){.kind = REPORT_SESSION, .number = i};
    control_scene_answer(scene);
    return true;
}

static void on_reload(void *context, struct control_answer answer)
{
    struct control_scene *scene = context;
    scene->action = answer;
    scene->actions++;
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

int control_scene_set_up(void **state)
{
    static const _Atomic bool is_ready = true;
    struct control_scene *scene = calloc(1, sizeof(*scene));
    struct err err = {0};
    assert_non_null(scene);
    snprintf(scene->folder, sizeof(scene->folder), "/tmp/control-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof(scene->path), "%s/socket", scene->folder);
    scene->config =
        (struct gate_config){.control = scene->path, .control_group = "", .control_mode = 0600};
    scene->generation = memory_generation("[listener coaps]\nlisten = 127.0.0.1:5684\n"
                                          "backend = 127.0.0.1:5683\npsk_file = @psk\n");
    scene->loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(scene->loop);
    const struct control_source source = {
        .generation = &scene->generation,
        .worker_count = 1,
        .ask = take_mail,
        .context = scene,
        .drains = &scene->drains,
        .is_ready = &is_ready,
        .actions = {.context = scene, .reload = on_reload},
    };
    scene->control = control_open(scene->loop, &scene->config, &source, &err);
    if (scene->control == NULL)
        fail_msg("%s", err.text);
    fake_log_reset();
    ev_run(scene->loop, EVRUN_NOWAIT); /* opens what it needs itself */
    scene->descriptors = count_descriptors();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &scene->descriptors_limit), 0);
    *state = scene;
    return 0;
}

int control_scene_tear_down(void **state)
{
    struct control_scene *scene = *state;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &scene->descriptors_limit), 0);
    control_close(scene->control);
    if (scene->asked != NULL) /* the worker ends, and nobody waits for it any more */
        assert_int_equal(atomic_load(&scene->asked->state), CONTROL_SCENE_GIVEN_UP);
    free(scene->asked);
    ev_loop_destroy(scene->loop);
    reload_release(scene->generation);
    assert_int_equal(rmdir(scene->folder), 0);
    free(scene);
    return 0;
}

/* ---- clients -------------------------------------------------------------------------------- */

void control_scene_turn(struct control_scene *scene)
{
    for (int i = 0; i < TURNS; i++)
        ev_run(scene->loop, EVRUN_NOWAIT);
}

int control_scene_connect(struct control_scene *scene)
{
    struct err err = {0};
    int fd = control_socket_connect(scene->path, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    control_scene_turn(scene);
    return fd;
}

void control_scene_say(struct control_scene *scene, int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    control_scene_turn(scene);
}

void control_scene_assert_heard(struct control_scene *scene, int fd, const char *text)
{
    char heard[4096];
    control_scene_turn(scene);
    ssize_t len = recv(fd, heard, sizeof(heard) - 1, 0);
    heard[len > 0 ? len : 0] = '\0';
    assert_string_equal(heard, text);
}

void control_scene_assert_end(struct control_scene *scene, int fd)
{
    char byte;
    control_scene_turn(scene);
    ssize_t len = recv(fd, &byte, 1, 0);
    assert_true(len == 0 || (len < 0 && errno == ECONNRESET));
}

bool control_scene_is_connected(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

void control_scene_assert_all_gone(struct control_scene *scene)
{
    control_scene_turn(scene);
    assert_int_equal(count_descriptors(), scene->descriptors);
}
