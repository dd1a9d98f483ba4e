#include "run/crew_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <unistd.h>

#include "gate/memory_generation.h"
#include "run/reload.h"

/* On a port that was free a moment ago. */
static void read_settings(struct crew_scene *scene)
{
    char ini[512], texts[2][ADDR_TEXT_MAX];
    close(loopback_open(&scene->listen));
    snprintf(ini, sizeof(ini),
             "[gate]\nworkers = 2\n[listener coaps]\nlisten = %s\nbackend = %s\npsk_file = @psk\n",
             addr_format(&scene->listen, texts[0]), addr_format(&scene->backend, texts[1]));
    scene->generation = memory_generation(ini);
}

bool crew_scene_open_crew(struct crew_scene *scene, uint32_t worker_count, struct err *err)
{
    if (!reload_enter_state(scene->generation, &scene->state, err))
        fail_msg("%s", err->text);
    scene->sockets = sockets_open(scene->generation, &scene->state, worker_count, true, NULL, err);
    if (scene->sockets == NULL)
        fail_msg("%s", err->text);
    return crew_open(&scene->crew, scene->generation, &scene->state, scene->sockets,
                     &scene->adopted, err);
}

void crew_scene_open(struct crew_scene *scene, uint32_t worker_count)
{
    struct err err = {0};
    *scene = (struct crew_scene){0};
    scene->server = loopback_open(&scene->backend);
    read_settings(scene);
    if (!state_create(&scene->state, &err) || !crew_scene_open_crew(scene, worker_count, &err))
        fail_msg("%s", err.text);
}

void crew_scene_connect_all(struct crew_scene *scene)
{
    struct err err = {0};
    if (!crew_start(&scene->crew, NULL, &err))
        fail_msg("%s", err.text);
    while (scene->device_count < CREW_SCENE_DEVICES)
        loopback_device_connect(&scene->devices[scene->device_count++], &scene->listen);
    for (uint32_t i = 0; i < scene->device_count; i++)
        loopback_device_assert_echo(&scene->devices[i], scene->server);
}

static void stop(struct crew_scene *scene, enum worker_end end)
{
    uint32_t hanging;
    uint64_t deadline_ms = loopback_clock_ms() + LOOPBACK_LIMIT_MS;
    assert_true(crew_stop(&scene->crew, end, deadline_ms, &hanging));
    assert_int_equal(hanging, scene->crew.count);
}

void crew_scene_leave(struct crew_scene *scene)
{
    stop(scene, WORKER_LEAVES_SESSIONS);
}

void crew_scene_begin_anew(struct crew_scene *scene)
{
    struct err err = {0};
    crew_close(&scene->crew);
    sockets_close(scene->sockets);
    scene->sockets = NULL;
    int fd = dup(scene->state.region.fd);
    state_close(&scene->state);
    if (!state_adopt(&scene->state, fd, &err))
        fail_msg("%s", err.text);
}

void crew_scene_close(struct crew_scene *scene)
{
    stop(scene, WORKER_SAYS_FAREWELL);
    crew_close(&scene->crew);
    sockets_close(scene->sockets);
    reload_release(scene->generation);
    state_close(&scene->state);
    for (uint32_t i = 0; i < scene->device_count; i++)
        loopback_device_free(&scene->devices[i]);
    close(scene->server);
}
