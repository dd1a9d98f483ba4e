/* An established session's keys, record numbers and protocol state: the RFCs call it an
 * association. It opens and seals records, and answers what the protocol itself answers. It is
 * plain data: it knows no library object, no socket, no table. What goes to the device leaves
 * through the caller's function, within the call. One worker's thread. Rules: R1 to R38, T5 to T9.
 */
#ifndef ASSOCIATION_H
#define ASSOCIATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake/taken.h"
#include "wire/message.h"
#include "wire/record12.h"
#include "wire/record13.h"

enum {
    /* A device that has not heard our ACK repeats its Finished for as long (twice the longest life
     * of a datagram: RFC 9147 section 5.8.1 with RFC 9293 section 3.4.1). */
    ASSOCIATION_REMAINDER_MS = 240000,
    /* Old keys after the first record under new ones: what the network has overtaken (R15). */
    ASSOCIATION_OLD_KEYS_MS = 120000,
    ASSOCIATION_REPEAT_MS = 1000, /* first repetition of a message, doubling */
    ASSOCIATION_REPEATS_MAX = 5,
    /* Between two refusals of a renegotiation. Some libraries end a session over a handful. */
    ASSOCIATION_REFUSAL_MS = 1000,
    ASSOCIATION_MESSAGE_MAX = 512, /* longest handshake message that is put together (R14) */
};

/* What each call needs. */
struct association_call {
    struct aead_work *work;
    uint64_t now_ms;
    /* Called with each record that goes to the device. */
    void (*send)(void *owner, const uint8_t *record, size_t len);
    void *owner;
    /* Another handshake runs at this address: what does not authenticate may be its own (T9). */
    bool is_contested;
};

enum association_event {
    ASSOCIATION_DISCARDED, /* not authentic, not new, or behind the device's close_notify */
    ASSOCIATION_DATA,
    ASSOCIATION_CONTROL,  /* authentic, and has been seen to */
    ASSOCIATION_REFUSED,  /* a renegotiation (DTLS 1.2): the device was told so, or a moment ago */
    ASSOCIATION_REPEATED, /* the Finished of DTLS 1.2 again: our last flight was lost */
    /* From here on the session ends; the alert, if there is one, has been sent. */
    ASSOCIATION_CLOSED,   /* close_notify; what was sent before it may still be opened */
    ASSOCIATION_ALERTED,  /* fatal alert of the device */
    ASSOCIATION_FAILED,   /* the device broke a rule */
    ASSOCIATION_WORN_OUT, /* more forgeries or records than the keys bear */
};

struct association_opened {
    enum association_event event;
    enum record_verdict verdict; /* of a record that was discarded */
    struct record_number number; /* unless it was discarded */
    const uint8_t *data;         /* ASSOCIATION_DATA: in the room of the caller's; may be empty */
    size_t data_len;
    size_t record_len; /* bytes of the datagram that are done with */
    uint8_t alert;     /* received or sent */
};

/* Keys of an epoch of DTLS 1.3 that is not the current one. */
struct association_epoch {
    uint64_t epoch;
    struct record13_keys keys;
    struct record_window window;
    uint64_t until_ms; /* UINT64_MAX: until a record of the next epoch comes */
    uint64_t forged;
};

struct association_outgoing;
struct association_partial;

struct association_12 {
    uint8_t read_key[AEAD_KEY_MAX], write_key[AEAD_KEY_MAX];
    uint8_t read_iv[AEAD_NONCE_BYTES], write_iv[AEAD_NONCE_BYTES];
    uint64_t nonce_base;
    uint64_t refusal_due_ms; /* before that a renegotiation is refused in silence */
};

struct association_13 {
    uint8_t read_secret[RECORD13_SECRET_MAX], write_secret[RECORD13_SECRET_MAX];
    struct record13_keys read_keys, write_keys;
    uint64_t read_epoch, write_epoch;
    uint16_t message_seq_next, message_seq_expected;
    bool owes_update;      /* asked for a KeyUpdate that has to wait for what is unacknowledged */
    bool has_asked_update; /* under the present keys: the device was asked for one of its own */
    struct association_epoch *handshake, *previous; /* owned; NULL = none */
    struct association_outgoing *outgoing;          /* owned: what is not acknowledged */
    struct association_partial *partial;            /* owned: a message that is not whole */
};

struct association {
    uint8_t version; /* enum dtls_version */
    uint8_t aead;    /* enum aead */
    uint8_t cid_len, client_cid_len;
    uint16_t plaintext_max;
    bool is_closed; /* the device has sent its close_notify, and that is its number: */
    struct record_number closure;
    uint8_t cid[RECORD_CID_MAX], client_cid[RECORD_CID_MAX];
    struct record_window window; /* of what is read */
    uint64_t write_next;         /* number of the next record, in 1.3 of write_epoch */
    uint64_t forged;             /* records that did not authenticate under the present keys */
    struct record_limits limits;
    union {
        struct association_12 v12;
        struct association_13 v13;
    };
};

/* Begins with what was taken over, which it copies. False: out of memory, nothing to deinit. */
bool association_init(struct association *association, const struct taken *taken,
                      uint64_t now_ms) MUST_USE;
/* Wipes it. */
void association_deinit(struct association *association);

/* Opens the record at the beginning of what is left of a datagram; is_first: of the datagram. room
 * takes len bytes and does not overlap it. */
void association_open(struct association *association, const struct association_call *call,
                      const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                      struct association_opened *opened);

enum association_sealed {
    ASSOCIATION_SEALED,
    ASSOCIATION_TOO_LARGE,
    ASSOCIATION_NO_KEYS, /* they have sealed as many records as they may, or wolfCrypt fails */
};

/* Sends data as one record, never more; it may be empty. */
enum association_sealed association_seal(struct association *association,
                                         const struct association_call *call, const uint8_t *data,
                                         size_t len) MUST_USE;

/* Sends an alert. The session ends. */
void association_send_alert(struct association *association, const struct association_call *call,
                            enum alert alert);

/* After ASSOCIATION_CLOSED: a record from before the close_notify has not come, and would be taken.
 */
bool association_has_gap(const struct association *association);

/* When association_on_time() is to be called; UINT64_MAX = no need. */
uint64_t association_due_ms(const struct association *association);
void association_on_time(struct association *association, const struct association_call *call);

/* Changes our own keys, if nothing is unacknowledged; else as soon as that is. DTLS 1.3. */
void association_update_keys(struct association *association, const struct association_call *call);

#endif
