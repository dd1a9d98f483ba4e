/* Sessions of one worker with what they need around them, but no handshakes: keys are made up, so
 * that a test can begin one in a line. Devices are a few lines too: they seal and open records with
 * the same keys. */
#ifndef SESSION_SCENE_H
#define SESSION_SCENE_H

#include "fakes/fake_log.h"
#include "fakes/fake_network.h"
#include "fakes/fake_system.h"
#include "fakes/fake_udp.h"
#include "session/session.h"

enum {
    SCENE_LISTENERS = 3,
    SCENE_PLAIN = 0,  /* listener: idle_timeout = 60s, idle_timeout_cid = 600s */
    SCENE_SECOND = 1, /* the same at another port */
    SCENE_FEW = 2,    /* sessions_per_identity = 2 */
    SCENE_IDLE_MS = 60000,
    SCENE_IDLE_CID_MS = 600000,
    SCENE_TOMBSTONE_MS = 30000,
    SCENE_START_MS = 1000000,
    SCENE_CID_BYTES = 8,
    SCENE_RECORD_MAX = 2048,
    SCENE_DIGEST = 0xd1, /* each byte of the digest of a device's credential */
};

struct session_scene {
    struct generation *generation;
    struct worker_counters counters;
    struct backend backend;
    struct udp_out to_client;
    struct udp_in in; /* from the backends */
    struct udp_socket socket, backend_socket;
    struct slabs slabs; /* of handshakes */
    struct state state;
    struct identities *identities;
    struct sessions all;
    struct aead_work *work; /* the devices' */
    uint64_t now_ms, next_number;
    uint64_t random;
    unsigned ended_elsewhere;
    struct identities_session elsewhere; /* the latest of these */
    bool send_failed;
};

/* A device and its session, as it sees it. */
struct scene_device {
    struct addr addr;
    uint32_t listener;
    const char *identity; /* NULL: it has no credential */
    bool has_cid, is_1_3;
    struct taken taken; /* the gate's side of the keys */
    uint64_t next;      /* number of the record that it sends next */
};

/* For cmocka. */
int scene_set_up(void **state);
int scene_tear_down(void **state);

struct addr scene_address(unsigned index);
/* A device at that address, with an identity that all of these share. */
struct scene_device scene_device_at(unsigned index);
/* Another port of that address, in that bucket. */
struct addr scene_address_in(const struct addr *addr, uint32_t bucket);

/* Its handshake is complete. NULL: *why. `why` may be NULL. */
struct session *scene_begin(struct session_scene *scene, struct scene_device *device,
                            enum handshake_result *why);
/* The same; fails the test if there is no session. */
struct session *scene_begin_well(struct session_scene *scene, struct scene_device *device);
/* The same with a last flight of that many bytes (DTLS 1.2). */
struct session *scene_begin_with_flight(struct session_scene *scene, struct scene_device *device,
                                        size_t flight_bytes);

/* A record of the device. Returns its bytes. */
size_t scene_seal(struct session_scene *scene, const struct scene_device *device, uint64_t number,
                  uint8_t type, const void *data, size_t len, uint8_t *out);
/* A datagram arrives from the device's address. */
enum client_outcome scene_receive(struct session_scene *scene, struct session *session,
                                  const struct scene_device *device, const uint8_t *datagram,
                                  size_t len, bool is_contested);
/* The same for what may belong to a session that its device has closed. */
bool scene_receive_closing(struct session_scene *scene, const struct scene_device *device,
                           const uint8_t *datagram, size_t len);
/* Its next record, in a datagram. */
enum client_outcome scene_say(struct session_scene *scene, struct session *session,
                              struct scene_device *device, uint8_t type, const void *data,
                              size_t len);
/* A datagram of the backend. */
enum backend_outcome scene_answer(struct session_scene *scene, struct session *session,
                                  const void *data, size_t len);

/* Opens what the gate has sent to the device last: its type; *data and *len are what it says. Fails
 * the test if nothing was sent since the last call, or if that is not for the device. */
uint8_t scene_open_last(struct session_scene *scene, const struct scene_device *device,
                        const uint8_t **data, size_t *len);
/* Fails the test unless that is an alert of that code. */
void scene_expect_alert(struct session_scene *scene, const struct scene_device *device,
                        uint8_t code);
/* Datagrams that went to any device, to the backends, so far. */
uint32_t scene_sent(void);
uint32_t scene_forwarded(void);

/* Lets time pass, and does what is due. */
void scene_wait(struct session_scene *scene, uint64_t ms);

uint64_t scene_closed(const struct session_scene *scene, enum close_reason reason);

#endif
