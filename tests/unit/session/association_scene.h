/* For test_association.c and its like: an association as a session has it, face to face with a real
 * client, or with an authenticated device by our own hands, which may send anything. nonce_watch.h
 * holds for all of it. */
#ifndef ASSOCIATION_SCENE_H
#define ASSOCIATION_SCENE_H

#include "gate/client_kinds.h"
#include "gate/dtls_pair.h"
#include "gate/nonce_watch.h"
#include "session/association.h"
#include "session/association_inside.h"

enum { SCENE_ROOM = RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD_MAX, SCENE_SENT_MAX = 64 };

/* Kinds of clients by name: each suite of records, each arrangement of connection IDs. */
extern const char *const scene_kinds_12[7], *const scene_kinds_13[7];
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* As a session has it. */
struct owner {
    uint8_t something;
    struct association association; /* the last member */
};

/* The gate's side as it will be, the device, and what has been sent and not been handed over. */
struct scene {
    struct dtls_pair *pair;
    struct owner *owner; /* a cell */
    size_t owner_bytes;
    struct association *association; /* the owner's */
    struct taken taken;
    struct association_call call;
    struct record_limits limits; /* lowered ones */
    uint8_t sent[SCENE_SENT_MAX][2048];
    size_t sent_len[SCENE_SENT_MAX];
    unsigned sent_count;
    struct association_opened opened; /* the last one */
    uint8_t room[SCENE_ROOM];
    /* The device by our own hands: as an authenticated one that may send anything. */
    uint8_t device_keys[RECORD13_KEYS_MAX], gate_keys[RECORD13_KEYS_MAX];
    uint64_t device_epoch, device_next;
};

/* For cmocka; the state is a struct dtls_pair. */
int scene_set_up(void **state);
int scene_tear_down(void **state);

/* Begins with what is left of the pair's handshake, which has just been completed. */
void scene_take_over(struct scene *s, struct dtls_pair *pair);
/* A client of that kind shakes hands, and both have nothing more to say. */
void scene_begin(struct scene *s, struct dtls_pair *pair, const struct client_kind *kind);
/* The same without a client: the device is played by our own hands alone. Or in two steps, for who
 * wants something else in s->taken. */
void scene_make(struct scene *s, enum dtls_version version, enum aead aead, uint8_t cid_len);
void scene_establish(struct scene *s);
void scene_fill(struct scene *s, enum dtls_version version, enum aead aead, uint8_t cid_len);
/* Fails the test if anything of it is left in memory. */
void scene_end(struct scene *s);

/* A datagram comes from the device, record by record; s->opened is of the last one. */
void scene_receive(struct scene *s, const uint8_t *data, size_t len);

/* What client and gate have sent is handed over, once; or until neither has more to say. */
void scene_hand_to_gate(struct scene *s);
void scene_hand_to_device(struct scene *s);
void scene_hand_over(struct scene *s);
void scene_assert_both_ways(struct scene *s, const char *text);

/* The device sends a record with any content; what the gate had sent before is forgotten. */
void scene_device_sends(struct scene *s, uint8_t type, const void *data, size_t len);
/* The same in any epoch of DTLS 1.3 and under any keys. */
void scene_device_sends_in(struct scene *s, uint64_t epoch, const uint8_t *keys, uint64_t number,
                           uint8_t type, const void *data, size_t len);
void scene_device_acknowledges(struct scene *s, uint64_t epoch, uint64_t number);
/* A handshake message, the one that is expected next. */
void scene_device_sends_message(struct scene *s, uint8_t type, const void *body, size_t len);
/* A KeyUpdate, not lost. */
void scene_device_changes_keys(struct scene *s);
/* A record that nobody's keys have made, of the present epoch or another. */
void scene_forge(struct scene *s);
void scene_forge_in(struct scene *s, uint64_t epoch);

/* What the gate has sent, as the device reads it; room has 2,048 bytes. */
struct record_content scene_gate_sent(struct scene *s, unsigned index, uint8_t *room);
void scene_assert_alert(struct scene *s, uint8_t level, enum alert alert);
void scene_assert_acknowledged(struct scene *s, unsigned index, uint64_t number);

#define EACH_KIND(kinds, s, pair)                                                               \
    for (size_t k = 0; k < COUNT(kinds) && (scene_begin(s, pair, gate_kind((kinds)[k])), true); \
         scene_end(s), k++)

#endif
