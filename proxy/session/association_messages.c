/* What the device's handshake messages do after the handshake of DTLS 1.3: changes of its keys,
 * connection IDs; fragments are put together, and what was put to use is acknowledged. */
#include "session/association_inside.h"

#include <string.h>

#include "base/bytes.h"

/* A message in fragments of which some are missing. */
struct association_partial {
    struct association_rare rare;
    uint8_t type;
    uint16_t len;
    uint8_t has[ASSOCIATION_MESSAGE_MAX / 8]; /* a bit for each byte */
    uint8_t bytes[ASSOCIATION_MESSAGE_MAX];
};

static void acknowledge(struct association *a, const struct association_call *call,
                        const struct record_content *content)
{
    const struct record_number number = {content->epoch, content->number};
    uint8_t ack[ACK_HEADER_BYTES + ACK_NUMBER_BYTES];
    message_write_ack(&number, ack);
    (void)association_send(a, call, RECORD_ACK, ack, sizeof(ack)); /* lost, it is asked for again */
}

bool association_partial_is_sound(const struct association_rare *rare)
{
    const struct association_partial *partial = (const struct association_partial *)rare;
    return rare->bytes == sizeof(*partial) && partial->len <= ASSOCIATION_MESSAGE_MAX;
}

/* ---- messages ------------------------------------------------------------------------------- */

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
    if (!association_next_read_epoch(a, call)) {
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
    if (!association_set_client_cid(a, call->cells, message.first, message.first_len))
        opened->event = ASSOCIATION_WORN_OUT; /* the device would not know our next records */
}

static bool is_known(uint8_t type)
{
    return type == HANDSHAKE_KEY_UPDATE || type == HANDSHAKE_NEW_CONNECTION_ID ||
           type == HANDSHAKE_REQUEST_CONNECTION_ID;
}

/* A whole message, the one that is expected next. is_last: nothing follows in its record. */
static void on_message(struct association *a, const struct association_call *call, uint8_t type,
                       const uint8_t *body, size_t len, bool is_last,
                       struct association_opened *opened)
{
    if (a->v13.message_seq_expected == UINT16_MAX) { /* R14: there is no next one */
        opened->event = ASSOCIATION_WORN_OUT;
        return;
    }
    a->v13.message_seq_expected++;
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

/* ---- fragments ------------------------------------------------------------------------------ */

static bool is_complete(const struct association_partial *partial)
{
    for (unsigned i = 0; i < partial->len; i++) {
        if ((partial->has[i / 8] >> i % 8 & 1) == 0)
            return false;
    }
    return true;
}

/* That of the message that is expected next, begun with this fragment of it; NULL: out of memory.
 */
static struct association_partial *get_partial(struct association *a, struct cells *cells,
                                               const struct handshake_fragment *fragment)
{
    struct association_partial *partial = association_find_rare(a, RARE_PARTIAL);
    if (partial != NULL)
        return partial;
    partial = association_add_rare(a, cells, RARE_PARTIAL, sizeof(*partial));
    if (partial != NULL) {
        partial->type = fragment->type;
        partial->len = (uint16_t)fragment->message_len;
    }
    return partial;
}

static void put_in(struct association_partial *partial, const struct handshake_fragment *fragment)
{
    memcpy(partial->bytes + fragment->offset, fragment->body, fragment->len);
    for (uint32_t i = fragment->offset; i < fragment->offset + fragment->len; i++)
        partial->has[i / 8] |= (uint8_t)(1u << i % 8);
}

/* A fragment that has to be put to others. */
static void on_part(struct association *a, const struct association_call *call,
                    const struct handshake_fragment *fragment, bool is_last,
                    struct association_opened *opened)
{
    struct association_partial *partial = get_partial(a, call->cells, fragment);
    if (partial == NULL) {
        opened->event = ASSOCIATION_DISCARDED; /* and not acknowledged: the device repeats it */
        return;
    }
    if (partial->type != fragment->type || partial->len != fragment->message_len) {
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
        return;
    }
    put_in(partial, fragment);
    if (!is_complete(partial))
        return;
    on_message(a, call, partial->type, partial->bytes, partial->len, is_last, opened);
    association_drop_rare(a, call->cells, RARE_PARTIAL);
}

/* A fragment of the message that is expected next. */
static void on_expected(struct association *a, const struct association_call *call,
                        const struct handshake_fragment *fragment, bool is_last,
                        struct association_opened *opened)
{
    bool is_whole = fragment->len == fragment->message_len;
    if (!is_known(fragment->type))
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
    else if (fragment->message_len > ASSOCIATION_MESSAGE_MAX)
        association_fail(a, call, ALERT_ILLEGAL_PARAMETER, opened);
    else if (is_whole && association_find_rare(a, RARE_PARTIAL) == NULL)
        on_message(a, call, fragment->type, fragment->body, fragment->len, is_last, opened);
    else
        on_part(a, call, fragment, is_last, opened);
}

/* ---- records -------------------------------------------------------------------------------- */

/* R13, R14: acknowledged is a record all of which was put to use now, or was before. */
void association_on_handshake(struct association *a, const struct association_call *call,
                              const struct record_content *content,
                              struct association_opened *opened)
{
    struct handshake_fragment fragment;
    bool is_cid_requested = false, is_used = true;
    if (content->data_len == 0) { /* R9 */
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    opened->event = ASSOCIATION_CONTROL;
    for (size_t at = 0; at < content->data_len; at += fragment.bytes) {
        uint16_t expected = a->v13.message_seq_expected;
        if (!message_read_fragment(content->data + at, content->data_len - at, &fragment)) {
            association_fail(a, call, ALERT_DECODE_ERROR, opened);
            return;
        }
        if (fragment.message_seq > expected) {
            is_used = false;
            break;
        }
        if (fragment.message_seq < expected)
            continue; /* a copy */
        on_expected(a, call, &fragment, at + fragment.bytes == content->data_len, opened);
        if (opened->event != ASSOCIATION_CONTROL)
            return;
        is_cid_requested |= fragment.type == HANDSHAKE_REQUEST_CONNECTION_ID &&
                            a->v13.message_seq_expected != expected;
    }
    if (is_used)
        acknowledge(a, call, content);
    if (is_cid_requested)
        association_send_no_cid(a, call);
}

/* T5: the device's last flight again, whatever is in it; only what it needs to hear is said. */
void association_on_remainder(struct association *a, const struct association_call *call,
                              const struct record_content *content,
                              struct association_opened *opened)
{
    if (content->type != RECORD_HANDSHAKE)
        return;
    acknowledge(a, call, content);
    opened->event = ASSOCIATION_CONTROL;
}
