/* What a watcher outside of the gate believes: which device has a session, from which address, with
 * which backend address, and what may therefore be sent to whom. It knows what every datagram on
 * the network is, because it saw it being made, and what the gate says of itself in its log and its
 * counters; nothing else. Where the gate does what it believes impossible, the test fails.
 *
 * What the gate does with the datagrams that arrive in one step is judged at the end of the step:
 * it handles a batch before it sends anything. */
#ifndef PROPERTY_MODEL_H
#define PROPERTY_MODEL_H

#include "gate/gate_fixture.h"
#include "wire/record.h"

enum {
    MODEL_LIVES_MAX = 2048,
    MODEL_MESSAGES_MAX = 512, /* of one life */
    MODEL_ADDRESSES = 160,    /* that devices and strangers send from */
    MODEL_BUCKETS = 3,        /* that these are in */
    MODEL_NOTES_MAX = 32768,  /* from backends */
    MODEL_STEP_MAX = 1024,    /* datagrams of one kind in one step */
    MODEL_LISTENERS = 5,      /* numbers */
    MODEL_NAMES_MAX = 12,     /* of listeners, over all settings */
    MODEL_PSKS = 28,
    NO_LIFE = 0xffffffffu,
};

enum life_state { LIFE_WITHOUT_SESSION, LIFE_IN_SESSION, LIFE_AFTER_SESSION };

/* Whether a second authentic record has come from where the session is; perhaps, if it cannot be
 * told what of a datagram was authentic. */
enum proof { PROVED, PROVED_PERHAPS, UNPROVED };

/* Of a session with a connection ID: where it is, see property_path.c. */
struct life_path {
    /* Numbers of datagrams, see property_path.c: the newest one that was surely, or perhaps, found
     * authentic. */
    uint64_t newest_sure, newest_perhaps;
    uint64_t judged[MODEL_MESSAGES_MAX / 64]; /* messages that will not be taken again */
    enum proof proof;
    uint32_t moved_bytes, sent_bytes; /* of the datagram that moved it; to there since then */
    uint32_t doubtful_step;           /* when it moved perhaps for another datagram's sake */
    bool holds_address;               /* it surely is the one that is found by its address */
};

/* A device from one boot to the next. It has at most one session in it. */
struct life {
    const struct client_kind *kind;
    uint32_t listener;
    bool is_impostor;    /* cannot authenticate */
    bool is_broken;      /* its library gave up, and may have sent an alert */
    uint8_t key_changes; /* that it has begun */
    /* Another key than its kind's that it may come in with: of the session that it resumes. */
    const char *ticket_key;
    uint32_t sent_datagrams; /* by its library, in order */
    uint32_t sent_messages;
    enum life_state state;
    /* Of the session: */
    uint64_t session;  /* number in the log */
    const char *key;   /* PSK; NULL = it has a certificate */
    bool is_condemned; /* an operator's deed ends it, as: */
    enum close_reason verdict;
    uint8_t cid[RECORD_CID_MAX]; /* that it puts on its records; cid_len 0 = none */
    uint8_t cid_len;
    struct addr addr; /* where its datagrams go */
    struct life_path path;
    uint32_t source; /* its backend address */
    uint64_t used_ms, ended_ms;
    uint32_t began_step, ended_step, used_step;
    bool is_worn_out; /* its keys could protect no more */
    enum close_reason reason;
    uint32_t closure; /* which of its datagrams closed it */
    uint32_t newest;  /* of its datagrams that arrived */
    uint32_t newest_at_birth;
    /* The same of its keys, and when the first record with them arrived. */
    uint8_t generation;
    uint64_t generation_ms;
    uint64_t arrived[MODEL_MESSAGES_MAX / 64];
};

/* What a datagram toward the gate is. */
struct origin {
    uint32_t life;  /* NO_LIFE: nobody's */
    uint32_t order; /* among the datagrams of that life */
    uint16_t first_message, message_count;
    bool is_close, is_alert; /* close_notify, fatal alert */
    bool is_changed;         /* bits were flipped, bytes cut off or added, who knows where */
    bool is_stripped;        /* a record of nobody, well-formed but without a connection ID */
    uint8_t damaged;         /* messages that cannot be authentic any more, a bit each */
    uint8_t epoch;           /* of its last protected record; those after the handshake are one */
    uint8_t generation;      /* how often the keys of that record had changed */
    bool has_rider;          /* a record of another life stands behind: */
    uint32_t rider;
    uint32_t rider_order; /* among the datagrams of that life */
    uint16_t rider_message;
};

struct model_input {
    const struct packet *packet;
    struct origin origin;
    uint32_t listener;
    bool is_hello;
};

/* A handshake that may be in progress at an address, or has failed there. */
struct model_handshake {
    bool is_open;
    uint64_t begun_ms, refused_ms;
    uint32_t closed_step;
    uint32_t alerts_left; /* how often the gate may repeat the alert over which it failed */
};

/* A backend address. */
struct model_slot {
    uint32_t source, life; /* the latest owner */
    /* Without a session: when a backend was last heard there, or its session ended; and whether
     * one was. is_disturbed: one that is not the session's was heard during the session. */
    uint64_t silent_since_ms;
    bool is_noisy, is_disturbed;
    bool is_forgotten; /* why its session ended */
    /* It had rested for a tombstone time that was shorter than the present one: not yet for this
     * one, and what was heard there before is not known any more. */
    bool is_doubtful;
};

/* An address change that the gate has told of. */
struct model_move {
    uint32_t life;
    struct addr from, to;
    bool is_explained;
};

/* A listener, by number; as it was at last if it is gone. */
struct model_listener {
    struct listener_config config; /* only what it holds itself */
    bool is_there, is_draining;
    struct addr addr_before; /* when the step began */
    /* The server before the present one, and how long it may still answer; 0: there was none. */
    struct addr backend_before;
    uint64_t before_until_ms;
};

/* What the gate knows of the PSK of an identity. */
struct model_psk {
    const char *identity, *key; /* key NULL: nothing */
    const char *key_before;     /* until then: */
    uint64_t changed_ms;
};

/* Sums over all processes so far. */
struct model_totals {
    uint64_t received, client[CLIENT_OUTCOME_COUNT], backend[BACKEND_OUTCOME_COUNT];
    uint64_t late[LATE_REASON_COUNT], closed[CLOSE_REASON_COUNT], early, resumed;
};

/* Counters that tell what the gate made of a step. */
struct model_counts {
    uint64_t begun, failed, alert_repeated, cid_missing, cid_unknown, moved;
    uint64_t backend[BACKEND_OUTCOME_COUNT], late[LATE_REASON_COUNT];
};

struct model {
    struct gate *gate;
    uint32_t listener_count, step;
    uint32_t restart_step; /* when the process began */
    struct model_listener listeners[MODEL_LISTENERS];
    struct {
        char name[CONFIG_NAME_MAX + 1];
        uint32_t number;
    } names[MODEL_NAMES_MAX];
    uint32_t name_count;
    struct model_psk psks[MODEL_PSKS];
    bool is_reloading; /* in this step */
    uint64_t tombstone_ms;
    struct addr addrs[MODEL_ADDRESSES]; /* few buckets, so that devices get each other's slots */
    bool is_stopping, is_network_good;
    bool has_low_limits; /* keys may be used a few times only */
    struct life lives[MODEL_LIVES_MAX];
    uint32_t life_count;
    uint32_t live[MODEL_LIVES_MAX]; /* those in session */
    uint32_t live_count;
    struct model_slot slots[MODEL_LIVES_MAX];
    uint32_t slot_count, early_count, reused_count, refused_count;
    struct model_handshake handshakes[GATE_LISTENERS_MAX][MODEL_ADDRESSES];
    /* Of datagrams toward the gate, by number of the packet. */
    struct origin *origins; /* owned */
    uint32_t origin_count, origin_capacity;
    struct origin next_origin; /* of what is being sent */
    uint32_t notes;            /* sent by backends */
    uint64_t noted[MODEL_NOTES_MAX / 64];
    /* Who had the address of each when it came to the gate, before that step already; NO_LIFE:
     * nobody may ever get it. */
    uint32_t note_owners[MODEL_NOTES_MAX];
    /* Of this step: */
    struct model_input from_client[MODEL_STEP_MAX];
    const struct packet *from_backend[MODEL_STEP_MAX], *to_client[MODEL_STEP_MAX];
    bool is_explained[MODEL_STEP_MAX]; /* of to_client: carries a backend's datagram */
    uint32_t from_client_count, from_backend_count, to_client_count;
    uint32_t began[MODEL_STEP_MAX], ended[MODEL_STEP_MAX]; /* lives */
    uint32_t began_count, ended_count;
    struct model_move moves[MODEL_STEP_MAX];
    uint32_t move_count;
    struct model_counts before[GATE_LISTENERS_MAX + 1];
    uint64_t digest; /* of all that the gate sent, when and where */
};

void model_init(struct model *model, struct gate *gate);
void model_deinit(struct model *model);

/* A new life; NO_LIFE if there is no room for more. */
uint32_t model_add_life(struct model *model, const struct client_kind *kind, uint32_t listener,
                        bool is_impostor);

/* The network's events, in order. */
void model_on_sent(struct model *model, const struct packet *packet);
void model_on_arrival(struct model *model, const struct packet *packet);
/* A line of the gate's log. */
void model_on_log(struct model *model, const char *line);
/* A device got a message. */
void model_on_message(struct model *model, uint32_t life, const uint8_t *data, size_t len);

void model_begin_step(struct model *model);
/* Judges the step; property_check.c, which asks property_end.c whether sessions end for a cause. */
void model_check_step(struct model *model);
void model_check_end(const struct model *model, uint32_t life);
uint64_t model_idle_timeout_of(const struct model *model, const struct life *life);

/* A handshake may be in progress there, or was in this step. */
bool model_has_handshake(const struct model *model, uint32_t listener, const struct addr *addr);
/* A session is at that address, or was in this step. */
bool model_is_session_at(const struct model *model, uint32_t life, uint32_t listener,
                         const struct addr *addr);
/* The two authenticate as the same. */
bool model_is_same_identity(const struct life *a, const struct life *b);

/* Which of `addrs` it is. */
uint32_t model_address_index(const struct model *model, const struct addr *addr);
/* The life that owns or last owned a backend address, or NULL. */
struct life *model_owner_of(struct model *model, uint32_t source);
/* The life has closed its session, but a datagram of it that the network was slow with is from
 * before that: what it carries is still for the backend. */
bool model_is_overtaken(struct model *model, const struct life *life, uint32_t order);
/* A backend was heard at the address of that life, which is in session or not, and it is for
 * nobody. */
void model_on_noise(struct model *model, const struct life *life, bool is_live);
/* The address that the next session of that bucket will be given, if nothing comes between. */
uint32_t model_next_source(const struct model *model, uint32_t bucket);
/* What a datagram to the address of that life, whose session is over, counts as late for. */
unsigned model_late_reason(struct model *model, const struct life *life);
/* What the counters of a listener say now. */
struct model_counts model_counts_of(const struct model *model, uint32_t listener);

/* ---- what an operator does: property_ruled.c ---- */

/* The gate has other settings. */
void model_on_settings(struct model *model);
/* It knows the device by this key from now on; NULL: not at all. */
void model_set_psk(struct model *model, uint32_t index, const char *identity, const char *key);
/* The life's key is good for a session that begins now. */
bool model_is_admitted(const struct model *model, const struct life *life, bool is_resumed);
/* Which sessions have to end over the settings, or had to in this step; after
 * model_on_settings(). */
void model_condemn_by_settings(struct model *model);
void model_condemn(struct model *model, uint32_t life, enum close_reason reason);
/* A process was killed, and another one has taken over. before: as of model_totals(). Those that
 * are condemned as torn or evicted have ended without a line in the log. */
void model_on_restart(struct model *model, const struct model_totals *before);
/* Of all listeners; the entry behind the last one is of none. */
void model_totals(const struct model *model, struct model_totals totals[MODEL_LISTENERS + 1]);
/* The backend of that listener may say so. */
bool model_is_server(const struct model *model, uint32_t listener, const struct addr *from);
/* Whose address it is, or was when the step began. Fails the test if it is nobody's. */
uint32_t model_listener_from(const struct model *model, const struct addr *addr);
/* None has this address: MODEL_LISTENERS. */
uint32_t model_listener_at(const struct model *model, const struct addr *addr);

/* ---- backend addresses: property_slots.c ---- */

/* The tombstone time is another one. */
void model_set_tombstone(struct model *model, uint64_t ms);
/* NULL: it was never used. */
struct model_slot *model_find_slot(struct model *model, uint32_t source);
bool model_is_free_slot(const struct model *model, const struct model_slot *slot);
void model_take_slot(struct model *model, uint32_t life, uint32_t source,
                     const struct addr *client);
void model_give_back_slot(struct model *model, const struct life *life);
/* No address is left for another session of that bucket. */
bool model_is_exhausted(const struct model *model, uint32_t bucket);

/* The session has ended. */
void model_end_life(struct model *model, uint32_t life, enum close_reason reason);
const char *model_identity_of(const struct life *life);

/* The IPv4 address as a number, and back. */
uint32_t model_source_of(const struct addr *addr);
struct addr model_source_addr(const struct model *model, uint32_t source);

#endif
