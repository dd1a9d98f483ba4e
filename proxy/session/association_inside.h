/* What the files of association.c share. Each calls only those that stand above it here. */
#ifndef ASSOCIATION_INSIDE_H
#define ASSOCIATION_INSIDE_H

#include "handshake/taken.h"
#include "session/association_state.h"
#include "wire/record13.h"

static inline const struct record_limits *association_limits(const struct association *association,
                                                             const struct association_call *call)
{
    bool is_1_3 = association->version == VERSION_1_3;
    return call->limits != NULL ? call->limits : record_limits(association->aead, is_1_3);
}

/* The keys of DTLS 1.3 behind the struct; those to read are the first. */
static inline const uint8_t *association_write_keys(const struct association *association)
{
    return association->keys + record13_keys_bytes(association->aead);
}

/* ---- association_rare.c: what few associations have at a time ---------------------------------
 */

/* Stable codes: they outlive the process. */
enum association_rare_kind {
    RARE_HANDSHAKE_EPOCH = 1, /* struct association_epoch: the keys that read epoch 2 (T5) */
    RARE_PREVIOUS_EPOCH = 2,  /* struct association_epoch: those before the present ones (R15) */
    RARE_OUTGOING = 3,        /* struct association_outgoing */
    RARE_PARTIAL = 4,         /* struct association_partial */
    RARE_LONG_CIDS = 5,       /* struct association_long_cids */
    RARE_CLOSURE = 6,         /* struct association_closure */
};

/* The head of each; there is at most one of a kind. */
struct association_rare {
    struct ref next;
    uint16_t bytes; /* of the whole, as taken */
    uint8_t kind;   /* enum association_rare_kind */
};

struct association_long_cids {
    struct association_rare rare;
    uint8_t cid[RECORD_CID_MAX], client_cid[RECORD_CID_MAX];
};

/* The number of the device's close_notify. */
struct association_closure {
    struct association_rare rare;
    struct record_number number;
};

/* NULL if there is none. */
void *association_find_rare(const struct association *association, enum association_rare_kind kind);
/* Adds one, zeroed but for its head; one of that kind that is there goes. Within a change: it is
 * there before it is filled. NULL: out of memory, or
 * it would have more than CELLS_MAX_BYTES. */
void *association_add_rare(struct association *association, struct cells *cells,
                           enum association_rare_kind kind, size_t bytes);
void association_drop_rare(struct association *association, struct cells *cells,
                           enum association_rare_kind kind);
void association_drop_all_rare(struct association *association, struct cells *cells);
/* False: out of memory. */
bool association_set_cid(struct association *association, struct cells *cells, const uint8_t *cid,
                         size_t len) MUST_USE;
bool association_set_client_cid(struct association *association, struct cells *cells,
                                const uint8_t *cid, size_t len) MUST_USE;

/* ---- association_send.c: what leaves ----------------------------------------------------------
 */

/* Seals and sends one record under the present keys. */
enum association_sealed association_send(struct association *association,
                                         const struct association_call *call, uint8_t type,
                                         const uint8_t *data, size_t len);

void association_alert(struct association *association, const struct association_call *call,
                       uint8_t level, enum alert alert);

/* The device broke a rule: tells it, and says so. */
void association_fail(struct association *association, const struct association_call *call,
                      enum alert alert, struct association_opened *opened);

/* ---- association_epochs.c: keys of DTLS 1.3 ---------------------------------------------------
 */

/* Fills in the part of DTLS 1.3. False: out of memory. */
bool association_init_epochs(struct association *association, const struct taken *taken,
                             struct cells *cells, uint64_t now_ms) MUST_USE;

/* Opens a record of any epoch that is read: what it was opened with, and what that means for older
 * keys. */
enum record_verdict association_open_epochs(struct association *association,
                                            const struct association_call *call,
                                            const uint8_t *data, size_t len, bool is_first,
                                            uint8_t *room, struct record_content *content);

/* Go to the next epoch. False: out of memory, out of epochs, or wolfCrypt fails; the session can
 * not go on. */
bool association_next_read_epoch(struct association *association,
                                 const struct association_call *call) MUST_USE;
bool association_next_write_epoch(struct association *association) MUST_USE;

/* An object of that kind that a process before has left; it lies in a cell of the length that it
 * says itself. */
bool association_epoch_is_sound(const struct association *association,
                                const struct association_rare *rare);

/* Of the epoch before; NULL = it is not read any more. */
const struct record_window *association_previous_window(const struct association *association);

/* When the next older epoch is to be dropped; UINT64_MAX = there is none. */
uint64_t association_epochs_due_ms(const struct association *association);
void association_drop_old_epochs(struct association *association,
                                 const struct association_call *call);

/* ---- association_outgoing.c: what is sent until the device acknowledges it --------------------
 */

/* Out of memory, a ticket is not repeated. */
void association_take_ticket(struct association *association, const struct taken_ticket *ticket,
                             struct cells *cells, uint64_t now_ms);

/* Asks for new keys of ours, and of the device if is_requested: now, or later if something else is
 * unacknowledged. If that is a KeyUpdate, nothing. */
void association_send_update(struct association *association, const struct association_call *call,
                             bool is_requested);
/* Says that there are no further connection IDs, if nothing else is unacknowledged. */
void association_send_no_cid(struct association *association, const struct association_call *call);

/* The content of a record of type ACK. */
void association_on_ack(struct association *association, const struct association_call *call,
                        const struct record_content *content, struct association_opened *opened);
/* The device is there: what waits for that is repeated again. */
void association_resume_outgoing(struct association *association,
                                 const struct association_call *call);
/* After each record that was opened or sealed: keys may be worn by half. */
void association_look_after_keys(struct association *association,
                                 const struct association_call *call);

/* As association_epoch_is_sound(). */
bool association_outgoing_is_sound(const struct association_rare *rare);

uint64_t association_outgoing_due_ms(const struct association *association);
void association_repeat_outgoing(struct association *association,
                                 const struct association_call *call);

/* ---- association_messages.c: what the device's handshake messages do --------------------------
 */

/* The content of a record of type handshake, of epoch 3 and later. */
void association_on_handshake(struct association *association, const struct association_call *call,
                              const struct record_content *content,
                              struct association_opened *opened);
/* As association_epoch_is_sound(). */
bool association_partial_is_sound(const struct association_rare *rare);

/* A record of epoch 2. */
void association_on_remainder(struct association *association, const struct association_call *call,
                              const struct record_content *content,
                              struct association_opened *opened);

#endif
