/* What an association is made of, and what is said of one: see association.h. Plain data. */
#ifndef ASSOCIATION_STATE_H
#define ASSOCIATION_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/order.h"
#include "base/ref.h"
#include "state/cells.h"
#include "wire/message.h"
#include "wire/record.h"

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
    ASSOCIATION_CID_INLINE = 8,    /* bytes; longer connection IDs are kept apart */
    ASSOCIATION_MESSAGE_MAX = 512, /* longest handshake message that is put together (R14) */
};

/* What each call needs. */
struct association_call {
    struct aead_work *work;
    struct cells *cells; /* what few associations have at a time comes from there */
    uint64_t now_ms;
    /* Called with each record that goes to the device. */
    void (*send)(void *owner, const uint8_t *record, size_t len);
    void *owner;
    /* Another handshake runs at this address: what does not authenticate may be its own (T9). */
    bool is_contested;
    /* In place of those of the RFCs, which no test could reach. NULL: those of the RFCs. */
    const struct record_limits *limits;
};

enum association_event {
    /* Not authentic, not new, behind the device's close_notify; or there is no memory for it. */
    ASSOCIATION_DISCARDED,
    ASSOCIATION_DATA,
    ASSOCIATION_CONTROL,  /* authentic, and has been seen to */
    ASSOCIATION_REFUSED,  /* a renegotiation (DTLS 1.2): the device was told so, or a moment ago */
    ASSOCIATION_REPEATED, /* the Finished of DTLS 1.2 again: our last flight was lost */
    /* From here on the session ends; the alert, if there is one, has been sent. */
    ASSOCIATION_CLOSED,  /* close_notify; what was sent before it may still be opened */
    ASSOCIATION_ALERTED, /* fatal alert of the device */
    ASSOCIATION_FAILED,  /* the device broke a rule */
    /* More forgeries than the keys bear, or no further keys: of epochs, messages, memory. */
    ASSOCIATION_WORN_OUT,
};

struct association_opened {
    enum association_event event;
    enum record_verdict verdict; /* of a record that was discarded */
    struct record_number number; /* unless it was discarded */
    const uint8_t *data;         /* ASSOCIATION_DATA: in the room of the caller's; may be empty */
    size_t data_len;
    bool is_authentic; /* and was not there before; set before anything is sent over it */
    bool is_newest;    /* the same, and newer than all before: it says where the device is (R38) */
    size_t record_len; /* bytes of the datagram that are done with */
    uint8_t alert;     /* received or sent */
};

/* A million of them is what a gate's memory goes to, so it is packed. A record is opened with the
 * first 80 bytes and the keys to read right behind them. In a struct it can be the last member
 * only: how long it is depends on version and suite. */
struct association {
    uint32_t change;             /* see association_begin_change() */
    struct ref rare;             /* owned list of struct association_rare; empty almost always */
    struct record_window window; /* of what is read */
    uint64_t write_next;         /* number of the next record, in 1.3 of write_epoch */
    uint64_t forged;             /* records that did not authenticate under the present keys */
    union {
        struct {
            uint64_t nonce_base;
            uint64_t refusal_due_ms; /* before that a renegotiation is refused in silence */
        } v12;
        struct {
            /* 16 bits: each change of keys takes a message_seq, which has no more and never wraps
             * (R14). Who comes to the end of them closes. */
            uint16_t read_epoch, write_epoch;
            uint16_t message_seq_next, message_seq_expected;
            bool owes_update;      /* asked for a KeyUpdate that has to wait */
            bool has_asked_update; /* under the present keys: the device, for one of its own */
        } v13;
    };
    /* See association_cid() and association_client_cid(). */
    uint8_t cid[ASSOCIATION_CID_INLINE], client_cid[ASSOCIATION_CID_INLINE];
    uint16_t plaintext_max;
    uint8_t version; /* enum dtls_version */
    uint8_t aead;    /* enum aead */
    uint8_t cid_len, client_cid_len;
    bool is_closed; /* the device has sent its close_notify */
    /* 1.2: key to read, to write, IV to read, to write. 1.3: the keys to read, to write (in
     * record13.h's order), traffic secret to read, to write. */
    uint8_t keys[];
};

/* Of an association in memory that outlives the process, and of the session that has it: whoever
 * changes more than one word does so between these two. A process that was killed in between has
 * left an odd number, and nobody goes on with that session. Not on the way of data: opening or
 * sealing one record is made of single stores in an order that leaves it whole at any point. They
 * nest: the outermost pair counts. */
static inline bool association_begin_change(struct association *association)
{
    if (association->change % 2 != 0)
        return false;
    association->change++;
    order_stores();
    return true;
}
/* has_begun: what association_begin_change() has said. */
static inline void association_end_change(struct association *association, bool has_begun)
{
    order_stores();
    if (has_begun)
        association->change++;
}

/* The gate's connection ID, cid_len bytes; the device's, client_cid_len bytes. */
const uint8_t *association_cid(const struct association *association);
const uint8_t *association_client_cid(const struct association *association);

enum association_sealed {
    ASSOCIATION_SEALED,
    ASSOCIATION_TOO_LARGE,
    ASSOCIATION_NO_KEYS, /* they have sealed as many records as they may, or wolfCrypt fails */
};

#endif
