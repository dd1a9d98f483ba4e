/* The world that the property test lets loose on a gate: devices that come, speak, sleep, close,
 * vanish, boot anew and move from one NAT address to another, a backend that answers as it likes,
 * attackers, and a network that loses, doubles, delays and overtakes. Everything happens by one
 * random sequence, so a seed repeats a run. The model (property_model.h) watches. */
#ifndef PROPERTY_WORLD_H
#define PROPERTY_WORLD_H

#include "property/property_model.h"

enum {
    WORLD_DEVICES = 28,
    WORLD_ADDRESSES = 40, /* NAT addresses for them; from there to MODEL_ADDRESSES: of strangers */
    WORLD_KINDS = 16,
    WORLD_LISTENERS = MODEL_LISTENERS,
    WORLD_PSKS = 2, /* keys that a device may have */
    WORLD_PARTS_MAX = 8,
    WORLD_OBSERVATIONS = 6,
    NO_ADDRESS = 0xffffffffu,
};

struct world_device {
    struct world *world;
    /* How it may authenticate, with its own identity, and each of its keys. */
    struct client_kind kinds[WORLD_PSKS][WORLD_KINDS];
    char identity[16];
    uint8_t psk;         /* that it has now: index of world_psks */
    uint32_t life;       /* NO_LIFE before it was ever switched on */
    uint32_t address;    /* NO_ADDRESS: switched off */
    uint32_t unanswered; /* messages since it last got one */
    uint64_t lag_ms;     /* what it sends now takes longer */
    /* Of an earlier life, to be resumed; owned, NULL = none. */
    struct WOLFSSL_SESSION *earlier;
    uint32_t earlier_kind;
    const char *earlier_key; /* PSK of that session */
    bool is_asleep;          /* its NAT address is another's meanwhile */
    /* What its library sends is gathered here while it is being made. */
    bool is_gathering;
    struct {
        uint8_t *data; /* owned */
        size_t len;
    } parts[WORLD_PARTS_MAX];
    uint32_t part_count;
};

/* A backend that goes on sending to an address, whoever has it. */
struct world_observation {
    uint32_t listener, source; /* source 0: there is none */
    uint32_t burst;            /* datagrams that follow each other fast */
    uint64_t pace_ms, due_ms;
    bool is_for_ever;
};

/* A listener by its number. */
struct world_listener {
    bool is_there, is_renamed, has_moved, has_other_backend, has_other_idle;
};

/* What stands in the gate's files. */
struct world_settings {
    struct world_listener listeners[WORLD_LISTENERS];
    uint32_t first;              /* listener in the file */
    uint8_t psks[WORLD_DEVICES]; /* index of world_psks; WORLD_PSKS: none */
    uint32_t max_sessions, tombstone_s;
    uint32_t slots; /* of each bucket; this one does not change */
};

extern const char *const world_psks[WORLD_PSKS];

struct world {
    struct gate *gate;
    struct model model;
    struct world_settings settings;
    char identities[WORLD_DEVICES][16]; /* of world_settings.psks */
    bool is_dying, is_losing;           /* the process; datagrams that it has in hand */
    uint32_t reloads, restarts;
    struct world_device devices[WORLD_DEVICES]; /* as gate->devices */
    struct world_observation observations[WORLD_OBSERVATIONS];
    uint32_t holders[WORLD_ADDRESSES]; /* the device at each address, or WORLD_DEVICES */
    uint64_t random;
    uint32_t lines;            /* of the log, since it was last emptied */
    uint32_t steps;            /* events that reached the datapath */
    uint32_t key_changes;      /* that devices have begun */
    unsigned chance_of_answer; /* of the backend, in percent */
    bool is_calm;              /* nothing is delayed for longer */
    uint64_t usual_delay_ms;
};

void world_open(struct world *world, struct gate *gate, uint64_t seed);
/* Frees what the world has, also when a test failed half-way; the gate stays open. */
void world_close(struct world *world);

uint64_t world_draw(struct world *world, uint64_t below);
bool world_happens(struct world *world, unsigned percent);

/* Lets time pass, event by event. */
void world_run(struct world *world, uint64_t ms);
/* Sends a datagram with that origin; with a delay of its own. */
void world_send(struct world *world, const struct origin *origin, const struct addr *from,
                const struct addr *to, const void *data, size_t len, uint64_t delay_ms);
/* The same from a backend. */
void world_send_from_backend(struct world *world, const struct addr *from, uint32_t source,
                             const void *data, size_t len, uint64_t delay_ms);
/* The backend of the listener sends a note of that length. */
void world_note(struct world *world, uint32_t listener, uint32_t source, size_t len,
                uint64_t delay_ms);

/* Changes a bit of the tag of the last record, which is not authentic then. */
void world_damage(struct world *world, uint8_t *data, size_t len);

/* ---- the gate's settings: property_settings.c ---- */

void world_open_gate(struct world *world, uint64_t seed);
/* world->settings come into force. */
void world_reload(struct world *world);
/* What tests set in a process. */
void world_limit_gate(struct world *world);

/* ---- its operator: property_operator.c ---- */

/* Does something. */
void world_operate(struct world *world);
/* All listeners take handshakes. */
void world_undrain(struct world *world);

/* ---- devices: property_device.c ---- */

void world_add_devices(struct world *world);
/* Frees what they keep of earlier lives. */
void world_forget_devices(struct world *world);
/* Something happens to one of the devices. */
void world_act(struct world *world);
/* The device sends a message; false if it is in no state to do so. */
bool world_device_speak(struct world *world, uint32_t device);
void world_device_close(struct world *world, uint32_t device);
/* A datagram for the device at an address; from the listener's address. */
void world_device_receive(struct world *world, const struct packet *packet);

/* ---- attackers and backends: property_attack.c ---- */

void world_attack(struct world *world);
void world_backend_act(struct world *world);
/* Observations that are due, and when the next one is. */
void world_observe(struct world *world);
uint64_t world_next_observation_ms(const struct world *world);
/* The datagram may be the last one of a handshake: perhaps a backend sends at that very moment to
 * the address that the session will be given. */
void world_send_before_session(struct world *world, const struct packet *packet);
/* The backend got a message. */
void world_backend_receive(struct world *world, const struct packet *packet);

#endif
