/* A crew of real workers, with devices and a server on the loopback interface; and the next crew,
 * which goes on with what this one has left in the state. */
#ifndef CREW_SCENE_H
#define CREW_SCENE_H

#include "gate/loopback.h"
#include "run/crew.h"

enum { CREW_SCENE_DEVICES = 12 };

struct crew_scene {
    struct generation *generation;
    struct state state;
    struct sockets *sockets;
    struct crew crew;
    struct sessions_adopted adopted; /* by the crew */
    struct addr listen, backend;
    int server;
    struct loopback_device devices[CREW_SCENE_DEVICES];
    uint32_t device_count;
};

/* Opens a crew of so many with a new state. */
void crew_scene_open(struct crew_scene *scene, uint32_t worker_count);
/* Starts the crew. Each device gets a session, unless it has one, and speaks with the server. */
void crew_scene_connect_all(struct crew_scene *scene);
/* The workers have ended, and left their sessions. */
void crew_scene_leave(struct crew_scene *scene);
/* After that: frees the crew; what remains is the state, as the next process finds it. */
void crew_scene_begin_anew(struct crew_scene *scene);
/* With the state as it is. False: crew_open() has failed with err. */
bool crew_scene_open_crew(struct crew_scene *scene, uint32_t worker_count, struct err *err);
/* Ends what runs, frees all. */
void crew_scene_close(struct crew_scene *scene);

#endif
