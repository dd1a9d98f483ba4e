/* An operation of a gate that is killed before each of its stores into the state, one after the
 * other. Each time the program forks, with all that is on the network and in the devices: the child
 * is the next process, which takes over a copy of the state as it is, and judges what it finds
 * there; the parent goes on with the operation, to its next store. nonce_watch.h holds for both.
 *
 * Two devices have a session: the subject, whom the operation is about, and a bystander. What must
 * hold at each store:
 *   - the bystander's session goes on, both ways;
 *   - the subject's does, too, or it is dropped as torn, or its end is completed, each of which
 * only some operations may lead to; then what the backend still says is discarded under its reason,
 *     and nothing goes to the device any more;
 *   - no plaintext reaches the backend twice, whatever of the subject's datagrams is replayed;
 *   - no key meets a nonce twice with other bytes;
 *   - a new device is served, by an address toward the backend that is nobody else's; and when all
 *     have ended, all memory has been given back. */
#ifndef CRASH_SCENE_H
#define CRASH_SCENE_H

#include "gate/gate_fixture.h"

/* What has become of the subject's session. */
enum crash_fate {
    CRASH_WHOLE,
    CRASH_TORN,
    CRASH_ENDED,
    CRASH_ABSENT, /* it had none yet */
    CRASH_FATES,
};

struct crash_scene {
    struct gate *gate;
    const struct client_kind *kind; /* of the subject */
    struct device *subject, *bystander;
    struct addr source; /* the subject's toward the backend; no family = it has no session yet */
    const struct record_limits *limits; /* NULL: those of the RFCs */
    bool may_tear, may_end;
    /* What is on its way to the subject when the process is killed never arrives: every other
     * time. */
    bool is_lossy;
    /* Another device has its address toward the gate. */
    bool has_successor;
    /* The operation is a start. That sums up thousands of counters, and wipes what they were in and
     * all free cells: no kill is tried before each of those stores, but before those that count. */
    bool is_start;
    /* Its session has ended so long ago that its address toward the backend may be used again. */
    bool is_forgotten;
    uint32_t first_packet; /* of those that are replayed: since the subject had a session */
    uint64_t outside;      /* what has left the gate, datagrams and records, in number */
    uint32_t cell_stores;  /* of a start, where cells are */
    uint32_t stops, kills, fates[CRASH_FATES];
};

/* A gate with those settings and the bystander, who was there first. */
void crash_scene_open(struct crash_scene *scene, struct gate *gate, const char *ini);
/* The subject, of scene->kind, before its first hello; and with a session. */
void crash_scene_add(struct crash_scene *scene);
void crash_scene_connect(struct crash_scene *scene);

/* Does the operation, which is killed at each store. Fails the test if something does not hold. */
void crash_scene_run(struct crash_scene *scene, void (*operation)(struct crash_scene *scene));

#endif
