#include "session/association.h"

#include <string.h>

#include "base/bytes.h"
#include "session/association_inside.h"

/* ---- sealing -------------------------------------------------------------------------------- */

static size_t seal(const struct association *a, const struct association_call *call, uint8_t type,
                   const uint8_t *data, size_t len, uint8_t *out)
{
    if (a->version == VERSION_1_2) {
        const struct record12_keys keys = {
            .aead = a->aead,
            .key = a->v12.write_key,
            .iv = a->v12.write_iv,
            .cid = a->client_cid,
            .cid_len = a->client_cid_len,
            .nonce_base = a->v12.nonce_base,
        };
        return record12_seal(call->work, &keys, a->write_next, type, data, len, out);
    }
    const struct record13_writer writer = {
        .epoch = a->v13.write_epoch,
        .keys = &a->v13.write_keys,
        .cid = a->client_cid,
        .cid_len = a->client_cid_len,
    };
    return record13_seal(call->work, &writer, a->write_next, type, data, len, out);
}

enum association_sealed association_send(struct association *a, const struct association_call *call,
                                         uint8_t type, const uint8_t *data, size_t len)
{
    uint8_t out[RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD_MAX];
    if (a->write_next >= a->limits.sealed)
        return ASSOCIATION_NO_KEYS;
    size_t record_len = seal(a, call, type, data, len, out);
    a->write_next++; /* whatever became of it: no number is used twice */
    if (record_len == 0)
        return ASSOCIATION_NO_KEYS;
    call->send(call->owner, out, record_len);
    return ASSOCIATION_SEALED;
}

/* With a connection ID the type counts too (R32). */
static size_t plaintext_max(const struct association *a)
{
    bool has_inner_type = a->version == VERSION_1_2 && a->client_cid_len != 0;
    return has_inner_type && a->plaintext_max == RECORD_PLAINTEXT_MAX ? RECORD_PLAINTEXT_MAX - 1u
                                                                      : a->plaintext_max;
}

enum association_sealed association_seal(struct association *a, const struct association_call *call,
                                         const uint8_t *data, size_t len)
{
    if (len > plaintext_max(a))
        return ASSOCIATION_TOO_LARGE;
    enum association_sealed sealed = association_send(a, call, RECORD_APPLICATION_DATA, data, len);
    if (sealed == ASSOCIATION_SEALED && a->version == VERSION_1_3)
        association_13_look_after_keys(a, call);
    return sealed;
}

static void send_alert(struct association *a, const struct association_call *call, uint8_t level,
                       enum alert alert)
{
    const struct alert_message message = {.level = level, .code = (uint8_t)alert};
    uint8_t bytes[ALERT_BYTES];
    message_write_alert(&message, bytes);
    (void)association_send(a, call, RECORD_ALERT, bytes,
                           sizeof(bytes)); /* lost, it is not missed */
}

void association_send_alert(struct association *a, const struct association_call *call,
                            enum alert alert)
{
    send_alert(a, call, alert == ALERT_CLOSE_NOTIFY ? ALERT_WARNING : ALERT_FATAL, alert);
}

void association_fail(struct association *a, const struct association_call *call, enum alert alert,
                      struct association_opened *opened)
{
    association_send_alert(a, call, alert);
    opened->event = ASSOCIATION_FAILED;
    opened->alert = (uint8_t)alert;
}

/* ---- what records carry --------------------------------------------------------------------- */

/* R11, R36: in 1.3 a code is fatal whatever the level says (RFC 8446 section 6). */
static void on_alert(struct association *a, const struct association_call *call,
                     const struct record_content *content, struct association_opened *opened)
{
    struct alert_message alert;
    if (!message_read_alert(content->data, content->data_len, &alert)) {
        association_fail(a, call,
                         content->data_len == 0 ? ALERT_UNEXPECTED_MESSAGE : ALERT_DECODE_ERROR,
                         opened);
        return;
    }
    opened->alert = alert.code;
    if (alert.code == ALERT_CLOSE_NOTIFY) {
        a->is_closed = true;
        a->closure = opened->number;
        opened->event = ASSOCIATION_CLOSED;
    } else if (a->version == VERSION_1_2 ? alert.level == ALERT_WARNING
                                         : alert.code == ALERT_USER_CANCELED) {
        opened->event = ASSOCIATION_CONTROL;
    } else {
        opened->event = ASSOCIATION_ALERTED;
    }
}

/* R36. Of a renegotiation, and of the last flight that is sent again, the first byte tells. */
static void on_handshake_12(struct association *a, const struct association_call *call,
                            const struct record_content *content, struct association_opened *opened)
{
    if (content->data_len == 0) { /* RFC 5246 section 6.2.1 */
        association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened);
        return;
    }
    switch (content->data[0]) {
    case HANDSHAKE_CLIENT_HELLO:
        opened->event = ASSOCIATION_REFUSED;
        if (call->now_ms < a->v12.refusal_due_ms)
            return;
        a->v12.refusal_due_ms = call->now_ms + ASSOCIATION_REFUSAL_MS;
        send_alert(a, call, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
        break;
    case HANDSHAKE_FINISHED: opened->event = ASSOCIATION_REPEATED; break;
    default: opened->event = ASSOCIATION_CONTROL; break;
    }
}

static void on_content(struct association *a, const struct association_call *call,
                       const struct record_content *content, struct association_opened *opened)
{
    switch (content->type) {
    case RECORD_APPLICATION_DATA:
        opened->event = ASSOCIATION_DATA;
        opened->data = content->data;
        opened->data_len = content->data_len;
        return;
    case RECORD_ALERT: on_alert(a, call, content, opened); return;
    case RECORD_HANDSHAKE:
        if (a->version == VERSION_1_2)
            on_handshake_12(a, call, content, opened);
        else
            association_13_on_handshake(a, call, content, opened);
        return;
    case RECORD_ACK:
        if (a->version == VERSION_1_3) {
            association_13_on_ack(a, call, content, opened);
            return;
        }
        break;
    default: break;
    }
    association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened); /* R10, R36 */
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum record_verdict open_12(struct association *a, const struct association_call *call,
                                   const uint8_t *data, size_t len, uint8_t *room,
                                   struct record_content *content)
{
    const struct record12_keys keys = {
        .aead = a->aead,
        .key = a->v12.read_key,
        .iv = a->v12.read_iv,
        .cid = a->cid,
        .cid_len = a->cid_len,
        .plaintext_max = a->plaintext_max,
    };
    enum record_verdict verdict =
        record12_open(call->work, &keys, &a->window, data, len, room, content);
    if (verdict == RECORD_FORGED && !call->is_contested)
        a->forged++;
    return verdict;
}

static bool is_newer(struct record_number a, struct record_number b)
{
    return a.epoch > b.epoch || (a.epoch == b.epoch && a.number > b.number);
}

static void on_opened(struct association *a, const struct association_call *call,
                      const struct record_content *content, struct association_opened *opened)
{
    opened->number = (struct record_number){content->epoch, content->number};
    if (a->is_closed) { /* N22: of what was sent before the close_notify the data counts */
        opened->event =
            content->type == RECORD_APPLICATION_DATA && is_newer(a->closure, opened->number)
                ? ASSOCIATION_DATA
                : ASSOCIATION_DISCARDED;
        opened->data = content->data;
        opened->data_len = content->data_len;
        return;
    }
    if (a->version == VERSION_1_3 && content->epoch == 2)
        association_13_on_remainder(a, call, content, opened);
    else
        on_content(a, call, content, opened);
}

void association_open(struct association *a, const struct association_call *call,
                      const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                      struct association_opened *opened)
{
    struct record_content content;
    *opened = (struct association_opened){.event = ASSOCIATION_DISCARDED};
    opened->verdict = a->version == VERSION_1_2
                          ? open_12(a, call, data, len, room, &content)
                          : association_13_open(a, call, data, len, is_first, room, &content);
    opened->record_len = content.record_len;
    switch (opened->verdict) {
    case RECORD_OPENED: on_opened(a, call, &content, opened); break;
    case RECORD_WITHOUT_TYPE: association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened); return;
    case RECORD_TOO_LONG: association_fail(a, call, ALERT_RECORD_OVERFLOW, opened); return;
    default: break;
    }
    if (a->forged >= a->limits.forged)
        opened->event = ASSOCIATION_WORN_OUT; /* R17, R37 */
    else if (a->version == VERSION_1_3 && !a->is_closed && opened->event < ASSOCIATION_CLOSED)
        association_13_look_after_keys(a, call);
}

bool association_has_gap(const struct association *a)
{
    /* In 1.3 older epochs count as complete: whoever changes keys has heard that all was received.
     */
    uint64_t before = a->closure.number;
    for (uint64_t age = 1; age < RECORD_WINDOW_BITS && age <= before; age++) {
        if (!record_window_has(&a->window, before - age))
            return true;
    }
    return false;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

bool association_init(struct association *a, const struct taken *taken, uint64_t now_ms)
{
    *a = (struct association){
        .version = (uint8_t)taken->version,
        .aead = (uint8_t)taken->aead,
        .cid_len = taken->cid_len,
        .client_cid_len = taken->client_cid_len,
        .plaintext_max = taken->plaintext_max,
        .write_next = taken->write_next,
        .limits = record_limits(taken->aead, taken->version == VERSION_1_3),
    };
    memcpy(a->cid, taken->cid, sizeof(a->cid));
    memcpy(a->client_cid, taken->client_cid, sizeof(a->client_cid));
    if (taken->version == VERSION_1_3)
        return association_13_init(a, taken, now_ms);
    struct association_12 *v12 = &a->v12;
    memcpy(v12->read_key, taken->v12.read_key, sizeof(v12->read_key));
    memcpy(v12->write_key, taken->v12.write_key, sizeof(v12->write_key));
    memcpy(v12->read_iv, taken->v12.read_iv, sizeof(v12->read_iv));
    memcpy(v12->write_iv, taken->v12.write_iv, sizeof(v12->write_iv));
    v12->nonce_base = taken->v12.nonce_base;
    a->window = taken->v12.window;
    if (a->limits.sealed > (uint64_t)1 << 48)
        a->limits.sealed = (uint64_t)1 << 48; /* R35 */
    return true;
}

void association_deinit(struct association *a)
{
    if (a->version == VERSION_1_3)
        association_13_deinit(&a->v13);
    bytes_wipe(a, sizeof(*a));
}
