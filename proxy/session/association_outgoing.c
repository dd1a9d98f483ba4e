/* What is sent until the device acknowledges it (RFC 9147 sections 5.8 and 7): a ticket, changes of
 * our keys, that there are no further connection IDs. One message at a time. */
#include "session/association_inside.h"

#include <string.h>

#include "base/bytes.h"

enum {
    NUMBERS_MAX = 8, /* of the records that a fragment was sent in: with all repetitions */
    MESSAGE_BYTES_MAX = HANDSHAKE_HEADER_BYTES + NO_CONNECTION_ID_BYTES, /* of our own */
};

struct outgoing_fragment {
    uint16_t at, len; /* in the message's bytes; with its handshake header */
    uint8_t number_count;
    bool is_acknowledged;
    uint64_t numbers[NUMBERS_MAX];
};

/* A message that the device has not acknowledged, in fragments. */
struct association_outgoing {
    struct association_rare rare;
    uint64_t due_ms; /* UINT64_MAX: not before the device shows itself */
    uint16_t epoch;  /* it was sent in: repetitions too (RFC 9147 section 4.2.1) */
    uint8_t type;    /* of the message */
    uint8_t count, tries;
    struct outgoing_fragment fragments[]; /* the bytes are behind them; a ticket's are secret */
};

_Static_assert(sizeof(struct association_outgoing) +
                       TAKEN_FRAGMENTS_MAX * sizeof(struct outgoing_fragment) + TAKEN_BYTES_MAX <=
                   CELLS_MAX_BYTES,
               "a ticket that was taken over can be kept");
_Static_assert(NUMBERS_MAX >= (int)TAKEN_NUMBERS_MAX, "all numbers are known that it was sent in");

static struct association_outgoing *find_outgoing(const struct association *a)
{
    return association_find_rare(a, RARE_OUTGOING);
}

static uint8_t *bytes_of(struct association_outgoing *o)
{
    return (uint8_t *)(o->fragments + o->count);
}

static bool is_update(const struct association_outgoing *o)
{
    return o != NULL && o->type == HANDSHAKE_KEY_UPDATE;
}

/* A session does well without it. */
static bool is_ticket(const struct association_outgoing *o)
{
    return o->type != HANDSHAKE_KEY_UPDATE && o->type != HANDSHAKE_NEW_CONNECTION_ID;
}

/* bytes: the message, whose first byte is its type. */
static struct association_outgoing *add_outgoing(struct association *a, struct cells *cells,
                                                 const uint8_t *bytes, size_t len, uint8_t count,
                                                 uint64_t now_ms)
{
    size_t fragments_bytes = count * sizeof(struct outgoing_fragment);
    struct association_outgoing *o = association_add_rare(
        a, cells, RARE_OUTGOING, sizeof(struct association_outgoing) + fragments_bytes + len);
    if (o == NULL)
        return NULL;
    o->type = bytes[0];
    o->epoch = a->v13.write_epoch;
    o->due_ms = now_ms + ASSOCIATION_REPEAT_MS;
    o->count = count;
    memcpy(bytes_of(o), bytes, len);
    return o;
}

bool association_outgoing_is_sound(const struct association_rare *rare)
{
    const struct association_outgoing *o = (const struct association_outgoing *)rare;
    if (rare->bytes < sizeof(*o) || o->count == 0 || o->count > TAKEN_FRAGMENTS_MAX)
        return false;
    size_t before = sizeof(*o) + o->count * sizeof(o->fragments[0]);
    for (int i = 0; i < o->count && before <= rare->bytes; i++) {
        const struct outgoing_fragment *fragment = &o->fragments[i];
        if ((size_t)fragment->at + fragment->len > rare->bytes - before ||
            fragment->number_count > NUMBERS_MAX ||
            *(const volatile uint8_t *)&fragment->is_acknowledged > 1)
            return false;
    }
    return before <= rare->bytes;
}

void association_take_ticket(struct association *a, const struct taken_ticket *ticket,
                             struct cells *cells, uint64_t now_ms)
{
    if (ticket->count == 0)
        return;
    struct association_outgoing *o =
        add_outgoing(a, cells, ticket->bytes, ticket->bytes_len, ticket->count, now_ms);
    for (int i = 0; o != NULL && i < ticket->count; i++) {
        const struct taken_fragment *from = &ticket->fragments[i];
        struct outgoing_fragment *fragment = &o->fragments[i];
        fragment->at = from->at;
        fragment->len = from->len;
        fragment->number_count = from->number_count;
        memcpy(fragment->numbers, from->numbers, sizeof(from->numbers));
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Of many repetitions the latest numbers are remembered. */
static void add_number(struct outgoing_fragment *fragment, uint64_t number)
{
    if (fragment->number_count == NUMBERS_MAX) {
        memmove(fragment->numbers, fragment->numbers + 1,
                (NUMBERS_MAX - 1) * sizeof(fragment->numbers[0]));
        fragment->number_count--;
    }
    fragment->numbers[fragment->number_count++] = number;
}

/* Sends what of it is not acknowledged. */
static void send_outgoing(struct association *a, const struct association_call *call,
                          struct association_outgoing *o)
{
    for (int i = 0; i < o->count; i++) {
        struct outgoing_fragment *fragment = &o->fragments[i];
        uint64_t number = a->write_next;
        if (!fragment->is_acknowledged &&
            association_send(a, call, RECORD_HANDSHAKE, bytes_of(o) + fragment->at,
                             fragment->len) == ASSOCIATION_SEALED)
            add_number(fragment, number);
    }
}

/* A ticket gives way to what the protocol needs (T6); nothing else does. */
static bool may_send_message(const struct association *a)
{
    const struct association_outgoing *o = find_outgoing(a);
    /* message_seq never wraps (R14): a session that has come so far keeps its keys. */
    return (o == NULL || is_ticket(o)) && a->v13.message_seq_next != UINT16_MAX;
}

/* A new message, in one piece. False: out of memory. */
static bool send_message(struct association *a, const struct association_call *call, uint8_t type,
                         const uint8_t *body, size_t len)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    message_write_header(type, (uint32_t)len, a->v13.message_seq_next, bytes);
    memcpy(bytes + HANDSHAKE_HEADER_BYTES, body, len);
    len += HANDSHAKE_HEADER_BYTES;
    struct association_outgoing *o = add_outgoing(a, call->cells, bytes, len, 1, call->now_ms);
    if (o == NULL)
        return false;
    a->v13.message_seq_next++;
    o->fragments[0].len = (uint16_t)len;
    send_outgoing(a, call, o);
    return true;
}

void association_send_update(struct association *a, const struct association_call *call,
                             bool is_requested)
{
    const uint8_t body[KEY_UPDATE_BYTES] = {is_requested};
    if (is_update(find_outgoing(a)))
        return;
    bool has_begun = association_begin_change(a);
    a->v13.owes_update =
        !may_send_message(a) || !send_message(a, call, HANDSHAKE_KEY_UPDATE, body, sizeof(body));
    a->v13.has_asked_update |= is_requested && !a->v13.owes_update;
    association_end_change(a, has_begun);
}

void association_send_no_cid(struct association *a, const struct association_call *call)
{
    uint8_t none[NO_CONNECTION_ID_BYTES];
    message_write_no_connection_id(none);
    if (may_send_message(a)) /* out of memory, it is not missed */
        (void)send_message(a, call, HANDSHAKE_NEW_CONNECTION_ID, none, sizeof(none));
}

void association_look_after_keys(struct association *a, const struct association_call *call)
{
    const struct record_limits *limits = association_limits(a, call);
    bool is_forged_by_half = a->forged >= limits->forged / 2 && !a->v13.has_asked_update;
    bool is_worn_by_half = a->write_next >= limits->sealed / 2 || a->v13.owes_update;
    if (is_forged_by_half || is_worn_by_half)
        association_send_update(a, call, is_forged_by_half); /* R17 */
}

/* ---- acknowledgements ----------------------------------------------------------------------- */

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

void association_on_ack(struct association *a, const struct association_call *call,
                        const struct record_content *content, struct association_opened *opened)
{
    struct association_outgoing *o = find_outgoing(a);
    int count = message_count_acks(content->data, content->data_len);
    if (count < 0) { /* R12 */
        association_fail(a, call, ALERT_DECODE_ERROR, opened);
        return;
    }
    for (int i = 0; i < count; i++) {
        struct record_number acked = message_get_ack(content->data, i);
        if (acked.epoch > a->v13.write_epoch) { /* we have sent nothing in it */
            association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
            return;
        }
        if (o != NULL)
            on_ack_of(o, acked);
    }
    opened->event = ASSOCIATION_CONTROL;
    if (o == NULL || !is_all_acknowledged(o))
        return;
    bool is_for_new_keys = is_update(o);
    association_drop_rare(a, call->cells, RARE_OUTGOING);
    /* R16: the device has our KeyUpdate, so the next record is of the next epoch. */
    if (is_for_new_keys && !association_next_write_epoch(a))
        opened->event = ASSOCIATION_WORN_OUT;
}

/* ---- repetition ----------------------------------------------------------------------------- */

uint64_t association_outgoing_due_ms(const struct association *a)
{
    const struct association_outgoing *o = find_outgoing(a);
    return o != NULL ? o->due_ms : UINT64_MAX;
}

void association_resume_outgoing(struct association *a, const struct association_call *call)
{
    struct association_outgoing *o = find_outgoing(a);
    if (o == NULL || o->due_ms != UINT64_MAX)
        return;
    o->tries = 0; /* two stores; a process that is killed in between has taken nothing but tries */
    o->due_ms = call->now_ms + ASSOCIATION_REPEAT_MS;
}

/* A ticket that is never acknowledged is given up; what the protocol needs waits until the device
 * shows itself. */
void association_repeat_outgoing(struct association *a, const struct association_call *call)
{
    struct association_outgoing *o = find_outgoing(a);
    if (o == NULL || call->now_ms < o->due_ms)
        return;
    if (++o->tries <= ASSOCIATION_REPEATS_MAX) {
        o->due_ms = call->now_ms + ((uint64_t)ASSOCIATION_REPEAT_MS << o->tries);
        send_outgoing(a, call, o);
        return;
    }
    o->due_ms = UINT64_MAX;
    if (is_ticket(o))
        association_drop_rare(a, call->cells, RARE_OUTGOING);
}
