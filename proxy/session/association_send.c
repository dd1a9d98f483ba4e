/* What leaves: one record at a time, under the present keys, never more than they bear. */
#include "session/association_inside.h"

#include "wire/record12.h"

static size_t seal_12(const struct association *a, const struct association_call *call,
                      uint64_t number, uint8_t type, const uint8_t *data, size_t len, uint8_t *out)
{
    size_t key_bytes = aead_key_bytes(a->aead);
    const struct record12_keys keys = {
        .aead = a->aead,
        .key = a->keys + key_bytes,
        .iv = a->keys + 2 * key_bytes + record12_iv_bytes(a->aead),
        .cid = association_client_cid(a),
        .cid_len = a->client_cid_len,
        .nonce_base = a->v12.nonce_base,
    };
    return record12_seal(call->work, &keys, number, type, data, len, out);
}

static size_t seal_13(const struct association *a, const struct association_call *call,
                      uint64_t number, uint8_t type, const uint8_t *data, size_t len, uint8_t *out)
{
    const struct record13_writer writer = {
        .aead = a->aead,
        .epoch = a->v13.write_epoch,
        .keys = association_write_keys(a),
        .cid = association_client_cid(a),
        .cid_len = a->client_cid_len,
    };
    return record13_seal(call->work, &writer, number, type, data, len, out);
}

static enum association_sealed seal_and_send(struct association *a,
                                             const struct association_call *call, uint8_t type,
                                             const uint8_t *data, size_t len)
{
    uint8_t out[RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD_MAX];
    uint64_t number = a->write_next;
    /* Whatever becomes of it, and of the process: no number is used twice (C3). */
    a->write_next = number + 1;
    order_stores();
    size_t record_len = a->version == VERSION_1_2 ? seal_12(a, call, number, type, data, len, out)
                                                  : seal_13(a, call, number, type, data, len, out);
    if (record_len == 0)
        return ASSOCIATION_NO_KEYS;
    call->send(call->owner, out, record_len);
    return ASSOCIATION_SEALED;
}

enum association_sealed association_send(struct association *a, const struct association_call *call,
                                         uint8_t type, const uint8_t *data, size_t len)
{
    if (a->write_next >= association_limits(a, call)->sealed)
        return ASSOCIATION_NO_KEYS;
    return seal_and_send(a, call, type, data, len);
}

void association_alert(struct association *a, const struct association_call *call, uint8_t level,
                       enum alert alert)
{
    const struct alert_message message = {.level = level, .code = (uint8_t)alert};
    uint8_t bytes[ALERT_BYTES];
    message_write_alert(&message, bytes);
    /* Lost, it is not missed. One that ends the session is sent even by keys that have sealed all
     * that they may: two bytes more do no harm, and without them the device would keep a session
     * that is dead. */
    if (alert == ALERT_NO_RENEGOTIATION)
        (void)association_send(a, call, RECORD_ALERT, bytes, sizeof(bytes));
    else
        (void)seal_and_send(a, call, RECORD_ALERT, bytes, sizeof(bytes));
}

void association_fail(struct association *a, const struct association_call *call, enum alert alert,
                      struct association_opened *opened)
{
    association_alert(a, call, ALERT_FATAL, alert);
    opened->event = ASSOCIATION_FAILED;
    opened->alert = (uint8_t)alert;
}
