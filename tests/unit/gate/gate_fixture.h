/* A gate in memory: the real datapath with everything below it, on fake_udp's network, with
 * devices (memory_client) on one side and a backend on the other, and a clock that jumps from
 * event to event. After every step it checks what must always hold: received = sum of outcomes,
 * the gauges, and the role policy on every datagram that the gate sent. nonce_watch.h holds for all
 * tests of it. */
#ifndef GATE_FIXTURE_H
#define GATE_FIXTURE_H

#include "fakes/fake_log.h"
#include "fakes/fake_system.h"
#include "fakes/fake_udp.h"
#include "gate/client_kinds.h"
#include "gate/gate_policy.h"
#include "gate/gate_view.h"
#include "gate/nonce_watch.h"
#include "worker/datapath.h"

enum { GATE_DEVICES_MAX = 80, GATE_LISTENERS_MAX = 8 };

/* Parts of a configuration file. Keys are in the folder that gate_keys.h makes. */
#define GATE_ADDRESS "192.0.2.1"
#define LISTENER_AT(name, port) \
    "[listener " name "]\nlisten = " GATE_ADDRESS ":" port "\nbackend = 127.0.0.1:5683\n"
#define LISTENER LISTENER_AT("coaps", "5684")
#define PSK "psk_file = devices.psk\n"
#define CERTIFICATE "certificate = server.pem\nprivate_key = server.key\n"
#define CLIENT_CA "client_ca = ca.pem\n"
#define GATE "[gate]\nmetrics =\n"
/* All kinds of devices may come; those without a PSK need a certificate. */
#define USUAL GATE LISTENER PSK CERTIFICATE CLIENT_CA

struct gate;

/* A device: a client with an address. */
struct device {
    struct gate *gate;
    struct memory_client *client;
    struct addr addr, to;
};

struct gate {
    struct generation *generation;
    struct generation *before; /* of earlier reloads, latest first: handshakes may have them */
    struct state state;
    struct identities *identities;
    struct datapath dp;
    struct udp_socket backend;
    /* One a listener, by its number; fd = -1: it has none. */
    struct udp_socket listening[GATE_LISTENERS_MAX];
    uint32_t listener_count; /* numbers that were ever used */
    struct udp_in in;
    struct device devices[GATE_DEVICES_MAX];
    uint32_t device_count;
    struct gate_policy policy;
    uint64_t now_ms, due_ms;
    uint64_t inherited;     /* sessions that a process before has left: see gate_restart.h */
    uint32_t log_seen;      /* lines that were looked at, see fake_log_count_new() */
    uint32_t memory_left;   /* allocations of wolfSSL in the gate that succeed; UINT32_MAX = all */
    bool is_open, has_echo; /* has_echo: the backend answers each datagram with the same bytes */
    bool is_one_bucket;     /* of the devices that are added */
};

/* For cmocka: *state is a struct gate that the test opens. Tear-down closes it and, if the test
 * failed, tells what it was doing. */
int gate_set_up(void **state);
int gate_tear_down(void **state);

/* Text that explains what a loop in a test is at; shown if the test fails. The test calls
 * gate_doing(NULL) at its end. */
void gate_doing(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Builds the generation from the text of a configuration file. Opening again closes first. */
void gate_open(struct gate *gate, const char *ini);
void gate_close(struct gate *gate);

/* Goes over to the settings of another text, as a reload does, until all sessions have been looked
 * at. What waits in sockets that are not needed any more is handled first. Returns how many slices
 * that took. */
uint32_t gate_reload(struct gate *gate, const char *ini);
/* Only builds their generation, for whoever puts it in force. */
void gate_read_settings(struct gate *gate, const char *ini);

/* Lets each bucket have so many backend addresses. Devices that are added from now on share one. */
void gate_limit_slots(struct gate *gate, uint32_t slot_max);

/* A new device with an address of its own, toward the first listener. */
struct device *gate_add(struct gate *gate, const struct client_kind *kind);
/* Another one with the address of an earlier one, which hears nothing from now on. */
struct device *gate_add_reborn(struct gate *gate, const struct client_kind *kind,
                               struct device *old);
/* The device is another one from now on, which has its address. */
void gate_replace(struct device *device, const struct client_kind *kind);
struct addr gate_device_addr(uint32_t index);
/* Listeners are named by their number here and below. */
struct addr gate_listener_addr(const struct gate *gate, uint32_t listener);

void device_connect(struct device *device);
void device_send(struct device *device, const void *data, size_t len);
void device_close(struct device *device);

/* Delivers what is due at that time and lets gate and devices act on it; and when there is next
 * something to do. What gate_run is made of. */
void gate_step(struct gate *gate, uint64_t now_ms);
uint64_t gate_next_event_ms(const struct gate *gate);

/* Lets time pass, event by event. */
void gate_run(struct gate *gate, uint64_t ms);
/* The same until the client is up, broken or closed; false if it is not up after that time. */
bool gate_run_until_up(struct gate *gate, struct device *device, uint64_t ms);
/* The client is up in no time at all but the network's. Fails the test otherwise. */
struct device *gate_connected(struct gate *gate, const struct client_kind *kind);

/* The device's message comes back from the backend. */
void gate_assert_echo(struct gate *gate, struct device *device, const char *text);

/* Gives the gate one datagram, at once. Returns its outcome. */
enum client_outcome gate_inject(struct gate *gate, const struct addr *from, const void *data,
                                size_t len);
enum backend_outcome gate_inject_from_backend(struct gate *gate, const struct addr *to,
                                              const void *data, size_t len);
enum backend_outcome gate_inject_from_other(struct gate *gate, const struct addr *from,
                                            const struct addr *to, const void *data, size_t len);

/* Timers up to now, as after each batch. */
void gate_tick(struct gate *gate);
/* datapath_stop. */
void gate_stop(struct gate *gate);

/* The datagram with that number in its direction. */
const struct packet *gate_nth(enum direction direction, uint32_t number);
/* Address that the gate has last used toward the backend. */
struct addr gate_last_source(void);

/* Sums over all listeners. */
uint64_t gate_client_outcomes(const struct gate *gate, enum client_outcome outcome);
uint64_t gate_backend_outcomes(const struct gate *gate, enum backend_outcome outcome);
uint64_t gate_late(const struct gate *gate, unsigned reason);
uint64_t gate_closed(const struct gate *gate, enum close_reason reason);
/* Over all versions and credentials; full handshakes only. */
uint64_t gate_handshakes(const struct gate *gate, enum handshake_result result);
/* Sessions that were resumed. */
uint64_t gate_resumptions(const struct gate *gate);
struct counters *gate_counters(struct gate *gate, uint32_t listener);

#endif
