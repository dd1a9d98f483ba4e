/* What DTLS 1.3 has after the handshake: acknowledgements, changes of keys, connection IDs, tickets
 * that are repeated, and the rest of the handshake itself. */
#include "session/association_inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum {
    FRAGMENTS_MAX = 4, /* of a ticket; one is the rule */
    NUMBERS_MAX = 8,   /* of the records that a fragment was sent in: with all repetitions */
    OUTGOING_BYTES_MAX = 2048,
    HANDSHAKE_EPOCH = 2,
    FIRST_EPOCH = 3,
};

/* A message that the device has not acknowledged, in fragments, each with its handshake header. */
struct association_outgoing {
    uint8_t type; /* of the message */
    uint8_t count, tries;
    uint64_t due_ms; /* UINT64_MAX: not before the device shows itself */
    uint64_t epoch;  /* it was sent in: repetitions too (RFC 9147 section 4.2.1) */
    struct outgoing_fragment {
        uint16_t at, len;
        uint8_t number_count;
        bool is_acknowledged;
        uint64_t numbers[NUMBERS_MAX];
    } fragments[FRAGMENTS_MAX];
    uint16_t bytes_len;
    uint8_t bytes[]; /* a ticket is as good as a key */
};

/* A message in fragments of which some are missing. */
struct association_partial {
    uint8_t type;
    uint16_t len;
    uint8_t has[ASSOCIATION_MESSAGE_MAX / 8]; /* a bit for each byte */
    uint8_t bytes[ASSOCIATION_MESSAGE_MAX];
};

static void free_secret(void *object, size_t bytes)
{
    if (object != NULL)
        bytes_wipe(object, bytes);
    free(object);
}

static void drop_outgoing(struct association_13 *v13)
{
    if (v13->outgoing != NULL)
        free_secret(v13->outgoing, sizeof(*v13->outgoing) + v13->outgoing->bytes_len);
    v13->outgoing = NULL;
}

static void drop_epoch(struct association_epoch **epoch)
{
    free_secret(*epoch, sizeof(**epoch));
    *epoch = NULL;
}

static void drop_partial(struct association_13 *v13)
{
    free_secret(v13->partial, sizeof(*v13->partial));
    v13->partial = NULL;
}

/* ---- what is not acknowledged --------------------------------------------------------------- */

static bool add_fragment(struct association_outgoing *o, const uint8_t *bytes, size_t len)
{
    if (o->count == FRAGMENTS_MAX || o->bytes_len + len > OUTGOING_BYTES_MAX)
        return false;
    struct outgoing_fragment *fragment = &o->fragments[o->count++];
    *fragment = (struct outgoing_fragment){.at = o->bytes_len, .len = (uint16_t)len};
    memcpy(o->bytes + o->bytes_len, bytes, len);
    o->bytes_len += (uint16_t)len;
    return true;
}

static struct association_outgoing *make_outgoing(uint8_t type, size_t bytes, uint64_t epoch,
                                                  uint64_t now_ms)
{
    struct association_outgoing *o = calloc(1, sizeof(*o) + bytes);
    if (o == NULL)
        return NULL;
    o->type = type;
    o->epoch = epoch;
    o->due_ms = now_ms + ASSOCIATION_REPEAT_MS;
    return o;
}

/* Sends what of it is not acknowledged; of many repetitions the latest numbers are remembered. */
static void send_outgoing(struct association *a, const struct association_call *call)
{
    struct association_outgoing *o = a->v13.outgoing;
    for (int i = 0; i < o->count; i++) {
        struct outgoing_fragment *fragment = &o->fragments[i];
        uint64_t number = a->write_next;
        if (fragment->is_acknowledged ||
            association_send(a, call, RECORD_HANDSHAKE, o->bytes + fragment->at, fragment->len) !=
                ASSOCIATION_SEALED)
            continue;
        if (fragment->number_count == NUMBERS_MAX) {
            memmove(fragment->numbers, fragment->numbers + 1,
                    (NUMBERS_MAX - 1) * sizeof(fragment->numbers[0]));
            fragment->number_count--;
        }
        fragment->numbers[fragment->number_count++] = number;
    }
}

/* A new message, in one piece. Nothing else is unacknowledged then; out of memory it is not sent.
 */
static void send_message(struct association *a, const struct association_call *call, uint8_t type,
                         const uint8_t *body, size_t len)
{
    uint8_t bytes[HANDSHAKE_HEADER_BYTES + 16];
    struct association_13 *v13 = &a->v13;
    struct association_outgoing *o =
        make_outgoing(type, HANDSHAKE_HEADER_BYTES + len, v13->write_epoch, call->now_ms);
    if (o == NULL)
        return;
    message_write_header(type, (uint32_t)len, v13->message_seq_next++, bytes);
    memcpy(bytes + HANDSHAKE_HEADER_BYTES, body, len);
    drop_outgoing(v13);
    v13->outgoing = add_fragment(o, bytes, HANDSHAKE_HEADER_BYTES + len) ? o : NULL;
    send_outgoing(a, call);
}

/* A ticket gives way to what the protocol needs (T6); nothing else does. */
static bool may_send_message(const struct association_13 *v13)
{
    bool is_ticket = v13->outgoing != NULL && v13->outgoing->type != HANDSHAKE_KEY_UPDATE &&
                     v13->outgoing->type != HANDSHAKE_NEW_CONNECTION_ID;
    /* message_seq never wraps (R14): a session that has come so far keeps its keys. */
    return (v13->outgoing == NULL || is_ticket) && v13->message_seq_next != UINT16_MAX;
}

static void ask_for_update(struct association *a, const struct association_call *call,
                           bool is_requested)
{
    const uint8_t body[KEY_UPDATE_BYTES] = {is_requested};
    struct association_13 *v13 = &a->v13;
    if (!may_send_message(v13)) {
        v13->owes_update = true;
        return;
    }
    v13->owes_update = false;
    v13->has_asked_update |= is_requested;
    send_message(a, call, HANDSHAKE_KEY_UPDATE, body, sizeof(body));
}

void association_update_keys(struct association *a, const struct association_call *call)
{
    bool is_on_its_way = a->v13.outgoing != NULL && a->v13.outgoing->type == HANDSHAKE_KEY_UPDATE;
    if (a->version == VERSION_1_3 && !is_on_its_way)
        ask_for_update(a, call, false);
}

/* R16: the device has our KeyUpdate, so the next record is of the next epoch. */
static bool install_write_keys(struct association *a)
{
    struct association_13 *v13 = &a->v13;
    struct record13_keys keys = {0};
    bool ok = record13_update(a->aead, v13->write_secret, v13->write_secret) &&
              record13_derive(&keys, a->aead, v13->write_secret);
    if (ok) {
        v13->write_keys = keys;
        v13->write_epoch++;
        a->write_next = 0;
    }
    bytes_wipe(&keys, sizeof(keys));
    return ok;
}

static bool is_all_acknowledged(const struct association_outgoing *o)
{
    for (int i = 0; i < o->count; i++) {
        if (!o->fragments[i].is_acknowledged)
            return false;
    }
    return true;
}

static void on_ack_of(struct association_outgoing *o, struct record_number acked)
{
    for (int i = 0; i < o->count && acked.epoch == o->epoch; i++) {
        struct outgoing_fragment *fragment = &o->fragments[i];
        for (int n = 0; n < fragment->number_count; n++)
            fragment->is_acknowledged |= fragment->numbers[n] == acked.number;
    }
}

void association_13_on_ack(struct association *a, const struct association_call *call,
                           const struct record_content *content, struct association_opened *opened)
{
    struct association_13 *v13 = &a->v13;
    int count = message_count_acks(content->data, content->data_len);
    if (count < 0) { /* R12 */
        association_fail(a, call, ALERT_DECODE_ERROR, opened);
        return;
    }
    for (int i = 0; i < count; i++) {
        struct record_number acked = message_get_ack(content->data, i);
        if (acked.epoch > v13->write_epoch) { /* we have sent nothing in it */
            association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
            return;
        }
        if (v13->outgoing != NULL)
            on_ack_of(v13->outgoing, acked);
    }
    opened->event = ASSOCIATION_CONTROL;
    if (v13->outgoing == NULL || !is_all_acknowledged(v13->outgoing))
        return;
    bool is_key_update = v13->outgoing->type == HANDSHAKE_KEY_UPDATE;
    drop_outgoing(v13);
    if (is_key_update && !install_write_keys(a))
        opened->event =
            ASSOCIATION_WORN_OUT; /* wolfCrypt failed, and the device reads other keys */
    else if (v13->owes_update)
        ask_for_update(a, call, false);
}

static void acknowledge(struct association *a, const struct association_call *call,
                        const struct record_content *content)
{
    const struct record_number number = {content->epoch, content->number};
    uint8_t ack[ACK_HEADER_BYTES + ACK_NUMBER_BYTES];
    message_write_ack(&number, ack);
    (void)association_send(a, call, RECORD_ACK, ack, sizeof(ack)); /* lost, it is asked for again */
}

/* ---- messages of the device ----------------------------------------------------------------- */

/* R15. Whoever changes keys twice has heard from us in between, so what is still older is of no
 * use. */
static bool install_read_keys(struct association *a)
{
    struct association_13 *v13 = &a->v13;
    struct association_epoch *old = calloc(1, sizeof(*old));
    if (old == NULL)
        return false;
    *old = (struct association_epoch){.epoch = v13->read_epoch,
                                      .keys = v13->read_keys,
                                      .window = a->window,
                                      .until_ms = UINT64_MAX,
                                      .forged = a->forged};
    if (!record13_update(a->aead, v13->read_secret, v13->read_secret) ||
        !record13_derive(&v13->read_keys, a->aead, v13->read_secret)) {
        drop_epoch(&old);
        return false;
    }
    drop_epoch(&v13->previous);
    v13->previous = old;
    v13->read_epoch++;
    v13->has_asked_update = false;
    a->window = (struct record_window){0};
    a->forged = 0;
    if ((v13->read_epoch & 3) == HANDSHAKE_EPOCH)
        drop_epoch(&v13->handshake); /* the same bits in the header (T5) */
    return true;
}

static void on_key_update(struct association *a, const struct association_call *call,
                          const uint8_t *body, size_t len, bool is_last,
                          struct association_opened *opened)
{
    bool is_requested;
    if (!message_read_key_update(body, len, &is_requested)) {
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
        return;
    }
    if (!is_last) { /* RFC 8446 section 5.1 */
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    if (!install_read_keys(a)) {
        opened->event = ASSOCIATION_WORN_OUT; /* the device's next records could not be read */
        return;
    }
    if (is_requested)
        a->v13.owes_update = true; /* after the ACK */
}

/* R18. */
static void on_new_connection_id(struct association *a, const struct association_call *call,
                                 const uint8_t *body, size_t len, struct association_opened *opened)
{
    struct new_connection_id message;
    if (a->client_cid_len == 0) {
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    if (!message_read_new_connection_id(body, len, &message)) {
        association_fail(a, call, ALERT_DECODE_ERROR, opened);
        return;
    }
    if (message.usage != CID_IMMEDIATE)
        return;
    if (message.first == NULL || message.first_len == 0 || message.first_len > RECORD_CID_MAX) {
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
        return;
    }
    memcpy(a->client_cid, message.first, message.first_len);
    a->client_cid_len = (uint8_t)message.first_len;
}

/* A whole message, the one that is expected next. is_last: nothing follows in its record. */
static void on_message(struct association *a, const struct association_call *call, uint8_t type,
                       const uint8_t *body, size_t len, bool is_last,
                       struct association_opened *opened)
{
    switch (type) {
    case HANDSHAKE_KEY_UPDATE: on_key_update(a, call, body, len, is_last, opened); return;
    case HANDSHAKE_NEW_CONNECTION_ID: on_new_connection_id(a, call, body, len, opened); return;
    case HANDSHAKE_REQUEST_CONNECTION_ID: /* R19 */
        if (a->cid_len == 0)
            association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        else if (len != REQUEST_CONNECTION_ID_BYTES)
            association_fail(a, call, ALERT_DECODE_ERROR, opened);
        return;
    default: association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened); return;
    }
}

static bool is_known(uint8_t type)
{
    return type == HANDSHAKE_KEY_UPDATE || type == HANDSHAKE_NEW_CONNECTION_ID ||
           type == HANDSHAKE_REQUEST_CONNECTION_ID;
}

static bool is_complete(const struct association_partial *partial)
{
    for (unsigned i = 0; i < partial->len; i++) {
        if ((partial->has[i / 8] >> i % 8 & 1) == 0)
            return false;
    }
    return true;
}

/* Puts a fragment to the others. False: there is no memory, or it contradicts them. */
static bool put_together(struct association_13 *v13, const struct handshake_fragment *fragment)
{
    if (v13->partial == NULL) {
        v13->partial = calloc(1, sizeof(*v13->partial));
        if (v13->partial == NULL)
            return false;
        v13->partial->type = fragment->type;
        v13->partial->len = (uint16_t)fragment->message_len;
    }
    struct association_partial *partial = v13->partial;
    if (partial->type != fragment->type || partial->len != fragment->message_len)
        return false;
    memcpy(partial->bytes + fragment->offset, fragment->body, fragment->len);
    for (uint32_t i = fragment->offset; i < fragment->offset + fragment->len; i++)
        partial->has[i / 8] |= (uint8_t)(1u << i % 8);
    return true;
}

/* A fragment of the message that is expected next. */
static void on_expected(struct association *a, const struct association_call *call,
                        const struct handshake_fragment *fragment, bool is_last,
                        struct association_opened *opened)
{
    struct association_13 *v13 = &a->v13;
    if (!is_known(fragment->type)) {
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    if (fragment->message_len > ASSOCIATION_MESSAGE_MAX) {
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
        return;
    }
    if (v13->partial == NULL && fragment->len == fragment->message_len) {
        v13->message_seq_expected++;
        on_message(a, call, fragment->type, fragment->body, fragment->len, is_last, opened);
        return;
    }
    if (!put_together(v13, fragment)) {
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
        return;
    }
    if (!is_complete(v13->partial))
        return;
    struct association_partial *whole = v13->partial;
    v13->partial = NULL;
    v13->message_seq_expected++;
    on_message(a, call, whole->type, whole->bytes, whole->len, is_last, opened);
    free_secret(whole, sizeof(*whole));
}

/* What we have to say to a message that has just been acknowledged. */
static void answer(struct association *a, const struct association_call *call,
                   bool is_cid_requested)
{
    uint8_t none[NO_CONNECTION_ID_BYTES];
    if (a->v13.owes_update)
        ask_for_update(a, call, false);
    if (!is_cid_requested || !may_send_message(&a->v13))
        return; /* it is only that there are no further ones */
    message_write_no_connection_id(none);
    send_message(a, call, HANDSHAKE_NEW_CONNECTION_ID, none, sizeof(none));
}

/* R13, R14: acknowledged is a record all of which was put to use now, or was before. */
void association_13_on_handshake(struct association *a, const struct association_call *call,
                                 const struct record_content *content,
                                 struct association_opened *opened)
{
    struct association_13 *v13 = &a->v13;
    struct handshake_fragment fragment;
    bool is_cid_requested = false, is_used = true;
    if (content->data_len == 0) { /* R9 */
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    opened->event = ASSOCIATION_CONTROL;
    for (size_t at = 0; at < content->data_len; at += fragment.bytes) {
        if (!message_read_fragment(content->data + at, content->data_len - at, &fragment)) {
            association_fail(a, call, ALERT_DECODE_ERROR, opened);
            return;
        }
        if (fragment.message_seq > v13->message_seq_expected) {
            is_used = false;
            break;
        }
        if (fragment.message_seq != v13->message_seq_expected)
            continue; /* a copy */
        bool is_last = at + fragment.bytes == content->data_len;
        on_expected(a, call, &fragment, is_last, opened);
        if (opened->event != ASSOCIATION_CONTROL)
            return;
        is_cid_requested |=
            fragment.type == HANDSHAKE_REQUEST_CONNECTION_ID && v13->partial == NULL;
    }
    if (is_used)
        acknowledge(a, call, content);
    answer(a, call, is_cid_requested);
}

/* T5: the device's last flight again, whatever is in it; only what it needs to hear is said. */
void association_13_on_remainder(struct association *a, const struct association_call *call,
                                 const struct record_content *content,
                                 struct association_opened *opened)
{
    if (content->type != RECORD_HANDSHAKE)
        return;
    acknowledge(a, call, content);
    opened->event = ASSOCIATION_CONTROL;
}

/* ---- records -------------------------------------------------------------------------------- */

static void note_forgery(struct association *a, const struct record_content *content)
{
    struct association_13 *v13 = &a->v13;
    if (content->epoch == v13->read_epoch)
        a->forged++;
    else if (v13->previous != NULL && content->epoch == v13->previous->epoch &&
             ++v13->previous->forged >= a->limits.forged)
        drop_epoch(&v13->previous); /* R17 */
}

enum record_verdict association_13_open(struct association *a, const struct association_call *call,
                                        const uint8_t *data, size_t len, bool is_first,
                                        uint8_t *room, struct record_content *content)
{
    struct association_13 *v13 = &a->v13;
    struct record13_epoch epochs[3] = {
        {.epoch = v13->read_epoch, .keys = &v13->read_keys, .window = &a->window}};
    struct association_epoch *olds[] = {v13->previous, v13->handshake};
    size_t count = 1;
    for (int i = 0; i < 2; i++) {
        if (olds[i] != NULL)
            epochs[count++] = (struct record13_epoch){
                .epoch = olds[i]->epoch, .keys = &olds[i]->keys, .window = &olds[i]->window};
    }
    const struct record13_reader reader = {
        .epochs = epochs,
        .epoch_count = count,
        .cid = a->cid,
        .cid_len = a->cid_len,
        .plaintext_max = a->plaintext_max,
    };
    enum record_verdict verdict =
        record13_open(call->work, &reader, data, len, is_first, room, content);
    if (verdict == RECORD_FORGED && !call->is_contested)
        note_forgery(a, content);
    /* The device uses its new keys, so it has heard our ACK. */
    if (verdict == RECORD_OPENED && content->epoch == v13->read_epoch && v13->previous != NULL &&
        v13->previous->until_ms == UINT64_MAX)
        v13->previous->until_ms = call->now_ms + ASSOCIATION_OLD_KEYS_MS;
    /* It is there: what waits for it is said again. */
    if (verdict == RECORD_OPENED && v13->outgoing != NULL && v13->outgoing->due_ms == UINT64_MAX) {
        v13->outgoing->tries = 0;
        v13->outgoing->due_ms = call->now_ms + ASSOCIATION_REPEAT_MS;
    }
    return verdict;
}

/* R17: new keys of ours when half of what they may seal is used up; the device is asked for new
 * ones when somebody forges. */
void association_13_look_after_keys(struct association *a, const struct association_call *call)
{
    struct association_13 *v13 = &a->v13;
    bool is_on_its_way = v13->outgoing != NULL && v13->outgoing->type == HANDSHAKE_KEY_UPDATE;
    if (is_on_its_way)
        return;
    if (a->forged >= a->limits.forged / 2 && !v13->has_asked_update)
        ask_for_update(a, call, true);
    else if (a->write_next >= a->limits.sealed / 2 && !v13->owes_update)
        ask_for_update(a, call, false);
}

/* ---- time ----------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t association_due_ms(const struct association *a)
{
    uint64_t due_ms = UINT64_MAX;
    if (a->version != VERSION_1_3)
        return due_ms;
    if (a->v13.handshake != NULL)
        due_ms = earlier(due_ms, a->v13.handshake->until_ms);
    if (a->v13.previous != NULL)
        due_ms = earlier(due_ms, a->v13.previous->until_ms);
    if (a->v13.outgoing != NULL)
        due_ms = earlier(due_ms, a->v13.outgoing->due_ms);
    return due_ms;
}

/* A session does well without a ticket that is never acknowledged; a change of keys waits until the
 * device shows itself. */
static void repeat_outgoing(struct association *a, const struct association_call *call)
{
    struct association_13 *v13 = &a->v13;
    struct association_outgoing *o = v13->outgoing;
    if (++o->tries > ASSOCIATION_REPEATS_MAX) {
        o->due_ms = UINT64_MAX;
        if (o->type != HANDSHAKE_KEY_UPDATE && o->type != HANDSHAKE_NEW_CONNECTION_ID)
            drop_outgoing(v13);
        return;
    }
    o->due_ms = call->now_ms + ((uint64_t)ASSOCIATION_REPEAT_MS << o->tries);
    send_outgoing(a, call);
}

void association_on_time(struct association *a, const struct association_call *call)
{
    if (a->version != VERSION_1_3)
        return;
    struct association_13 *v13 = &a->v13;
    if (v13->handshake != NULL && call->now_ms >= v13->handshake->until_ms)
        drop_epoch(&v13->handshake);
    if (v13->previous != NULL && call->now_ms >= v13->previous->until_ms)
        drop_epoch(&v13->previous);
    if (v13->outgoing != NULL && call->now_ms >= v13->outgoing->due_ms)
        repeat_outgoing(a, call);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

/* Out of memory, a ticket is not repeated. */
static void take_ticket(struct association_13 *v13, const struct taken_ticket *ticket,
                        uint64_t now_ms)
{
    if (ticket->count == 0)
        return;
    struct association_outgoing *o =
        make_outgoing(ticket->bytes[0], ticket->bytes_len, FIRST_EPOCH, now_ms);
    for (int i = 0; o != NULL && i < ticket->count; i++) {
        const struct taken_fragment *from = &ticket->fragments[i];
        if (!add_fragment(o, ticket->bytes + from->at, from->len))
            break;
        o->fragments[i].number_count = from->number_count;
        memcpy(o->fragments[i].numbers, from->numbers, sizeof(from->numbers));
    }
    v13->outgoing = o;
}

bool association_13_init(struct association *a, const struct taken *taken, uint64_t now_ms)
{
    struct association_13 *v13 = &a->v13;
    memcpy(v13->read_secret, taken->v13.read_secret, sizeof(v13->read_secret));
    memcpy(v13->write_secret, taken->v13.write_secret, sizeof(v13->write_secret));
    v13->read_epoch = v13->write_epoch = FIRST_EPOCH;
    v13->message_seq_next = taken->v13.message_seq_next;
    v13->message_seq_expected = taken->v13.message_seq_expected;
    v13->handshake = calloc(1, sizeof(*v13->handshake));
    if (v13->handshake == NULL || !record13_derive(&v13->read_keys, a->aead, v13->read_secret) ||
        !record13_derive(&v13->write_keys, a->aead, v13->write_secret)) {
        association_deinit(a);
        return false;
    }
    *v13->handshake = (struct association_epoch){.epoch = HANDSHAKE_EPOCH,
                                                 .window = taken->v13.handshake_window,
                                                 .until_ms = now_ms + ASSOCIATION_REMAINDER_MS};
    struct record13_keys *keys = &v13->handshake->keys;
    keys->aead = taken->aead;
    memcpy(keys->key, taken->v13.handshake_key, sizeof(keys->key));
    memcpy(keys->iv, taken->v13.handshake_iv, sizeof(keys->iv));
    memcpy(keys->number_key, taken->v13.handshake_number_key, sizeof(keys->number_key));
    take_ticket(v13, &taken->v13.ticket, now_ms);
    return true;
}

void association_13_deinit(struct association_13 *v13)
{
    drop_outgoing(v13);
    drop_partial(v13);
    drop_epoch(&v13->handshake);
    drop_epoch(&v13->previous);
}
