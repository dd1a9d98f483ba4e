/* A control socket with what it needs around it, and its clients. Sockets and event loop are real;
 * the one worker and the actions are the test's. */
#ifndef CONTROL_SCENE_H
#define CONTROL_SCENE_H

#include <ev.h>
#include <sys/resource.h>

#include "fakes/fake_log.h"
#include "run/control.h"

enum {
    CONTROL_SCENE_ANSWERED = 2, /* states of an inquiry */
    CONTROL_SCENE_GIVEN_UP = 3,
};

struct control_scene {
    char folder[32], path[64];
    struct gate_config config;
    struct ev_loop *loop;
    struct generation *generation;
    struct drains drains;
    struct control *control;
    struct inquiry *asked; /* that the worker has */
    uint32_t asks;
    uint32_t sessions_left; /* that the worker has to tell; it answers at once then */
    struct control_answer action;
    uint32_t actions;
    int descriptors; /* of this process, before anybody connects */
    struct rlimit descriptors_limit;
};

/* For cmocka. The second closes the control socket, if a test has not. */
int control_scene_set_up(void **state);
int control_scene_tear_down(void **state);

/* The event loop goes round until there is nothing to do but to wait. The functions below do that,
 * too. */
void control_scene_turn(struct control_scene *scene);
/* The worker answers what it was asked. */
void control_scene_answer(struct control_scene *scene);

/* A client that does not block; the caller closes it. */
int control_scene_connect(struct control_scene *scene);
void control_scene_say(struct control_scene *scene, int fd, const char *text);
/* That is all that the client can read now. */
void control_scene_assert_heard(struct control_scene *scene, int fd, const char *text);
/* The gate has ended the conversation, and all that it said has been read. */
void control_scene_assert_end(struct control_scene *scene, int fd);
/* The gate has neither ended the conversation nor said anything. */
bool control_scene_is_connected(int fd);
/* All clients have closed; the gate has kept nothing of them. */
void control_scene_assert_all_gone(struct control_scene *scene);

#endif
