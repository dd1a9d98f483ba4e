#include "session/association.h"

#include <string.h>

#include "base/bytes.h"
#include "session/association_inside.h"
#include "wire/record12.h"

/* ---- sealing -------------------------------------------------------------------------------- */

/* With a connection ID the type counts too (R32). */
size_t association_plaintext_max(const struct association *a)
{
    bool has_inner_type = a->version == VERSION_1_2 && a->client_cid_len != 0;
    return has_inner_type && a->plaintext_max == RECORD_PLAINTEXT_MAX ? RECORD_PLAINTEXT_MAX - 1u
                                                                      : a->plaintext_max;
}

enum association_sealed association_seal(struct association *a, const struct association_call *call,
                                         const uint8_t *data, size_t len)
{
    if (len > association_plaintext_max(a))
        return ASSOCIATION_TOO_LARGE;
    enum association_sealed sealed = association_send(a, call, RECORD_APPLICATION_DATA, data, len);
    if (sealed == ASSOCIATION_SEALED && a->version == VERSION_1_3)
        association_look_after_keys(a, call);
    return sealed;
}

void association_send_alert(struct association *a, const struct association_call *call,
                            enum alert alert)
{
    association_alert(a, call, alert == ALERT_CLOSE_NOTIFY ? ALERT_WARNING : ALERT_FATAL, alert);
}

void association_update_keys(struct association *a, const struct association_call *call)
{
    if (a->version == VERSION_1_3)
        association_send_update(a, call, false);
}

/* ---- what records carry --------------------------------------------------------------------- */

/* Out of memory, nothing that was sent before the close_notify is taken any more. */
static void on_close_notify(struct association *a, const struct association_call *call,
                            struct association_opened *opened)
{
    struct association_closure *closure =
        association_add_rare(a, call->cells, RARE_CLOSURE, sizeof(*closure));
    if (closure != NULL)
        closure->number = opened->number;
    a->is_closed = true;
    opened->event = ASSOCIATION_CLOSED;
}

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
    bool is_harmless = a->version == VERSION_1_2 ? alert.level == ALERT_WARNING
                                                 : alert.code == ALERT_USER_CANCELED;
    if (alert.code == ALERT_CLOSE_NOTIFY)
        on_close_notify(a, call, opened);
    else
        opened->event = is_harmless ? ASSOCIATION_CONTROL : ASSOCIATION_ALERTED;
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
        association_alert(a, call, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
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
            association_on_handshake(a, call, content, opened);
        return;
    case RECORD_ACK:
        if (a->version == VERSION_1_3) {
            association_on_ack(a, call, content, opened);
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
        .key = a->keys,
        .iv = a->keys + 2 * aead_key_bytes(a->aead),
        .cid = association_cid(a),
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

/* N22: of what was sent before the close_notify the data counts. */
static void on_opened_late(const struct association *a, const struct record_content *content,
                           struct association_opened *opened)
{
    const struct association_closure *closure = association_find_rare(a, RARE_CLOSURE);
    if (content->type != RECORD_APPLICATION_DATA || closure == NULL ||
        !is_newer(closure->number, opened->number))
        return;
    opened->event = ASSOCIATION_DATA;
    opened->data = content->data;
    opened->data_len = content->data_len;
}

static void on_opened(struct association *a, const struct association_call *call,
                      const struct record_content *content, struct association_opened *opened)
{
    opened->number = (struct record_number){content->epoch, content->number};
    if (a->is_closed) {
        on_opened_late(a, content, opened);
        return;
    }
    bool has_begun = content->type != RECORD_APPLICATION_DATA && association_begin_change(a);
    if (a->version == VERSION_1_3)
        association_resume_outgoing(a, call);
    /* A device that gives up at the very end of the handshake may say so in its epoch, and is gone.
     */
    if (a->version == VERSION_1_3 && content->epoch == 2 && content->type != RECORD_ALERT)
        association_on_remainder(a, call, content, opened);
    else
        on_content(a, call, content, opened);
    association_end_change(a, has_begun);
}

/* What follows the newest record that has come. A device goes on under its old keys until it has
 * heard that we have its new ones. */
static struct record_number next_newest(const struct association *a)
{
    if (a->version == VERSION_1_2)
        return (struct record_number){1, a->window.next};
    const struct record_window *previous =
        a->window.next == 0 ? association_previous_window(a) : NULL;
    return previous != NULL ? (struct record_number){a->v13.read_epoch - 1u, previous->next}
                            : (struct record_number){a->v13.read_epoch, a->window.next};
}

void association_open(struct association *a, const struct association_call *call,
                      const uint8_t *data, size_t len, bool is_first, uint8_t *room,
                      struct association_opened *opened)
{
    struct record_content content;
    const struct record_number next = next_newest(a);
    *opened = (struct association_opened){.event = ASSOCIATION_DISCARDED};
    opened->verdict = a->version == VERSION_1_2
                          ? open_12(a, call, data, len, room, &content)
                          : association_open_epochs(a, call, data, len, is_first, room, &content);
    opened->record_len = content.record_len;
    opened->is_authentic = opened->verdict == RECORD_OPENED;
    opened->is_newest =
        opened->is_authentic &&
        !is_newer(next, (struct record_number){content.epoch, content.number}); /* R38 */
    switch (opened->verdict) {
    case RECORD_OPENED: on_opened(a, call, &content, opened); break;
    case RECORD_WITHOUT_TYPE: association_fail(a, call, ALERT_UNEXPECTED_MESSAGE, opened); return;
    case RECORD_TOO_LONG: association_fail(a, call, ALERT_RECORD_OVERFLOW, opened); return;
    default: break;
    }
    if (a->forged >= association_limits(a, call)->forged)
        opened->event = ASSOCIATION_WORN_OUT; /* R17, R37 */
    else if (a->version == VERSION_1_3 && !a->is_closed && opened->event < ASSOCIATION_CLOSED)
        association_look_after_keys(a, call);
}

static bool has_gap_before(const struct record_window *window, uint64_t number)
{
    for (uint64_t age = 1; age < RECORD_WINDOW_BITS && age <= number; age++) {
        if (!record_window_has(window, number - age))
            return true;
    }
    return false;
}

/* A record of the epoch before is missing; none before the one that was newest. */
static bool has_old_gap(const struct association *a)
{
    const struct record_window *old =
        a->version == VERSION_1_3 ? association_previous_window(a) : NULL;
    return old != NULL && old->next != 0 && has_gap_before(old, old->next - 1);
}

bool association_has_gap(const struct association *a)
{
    const struct association_closure *closure = association_find_rare(a, RARE_CLOSURE);
    if (closure == NULL)
        return false;
    return has_gap_before(&a->window, closure->number.number) || has_old_gap(a);
}

/* ---- time ----------------------------------------------------------------------------------- */

uint64_t association_due_ms(const struct association *a)
{
    if (ref_find(&a->rare) == NULL)
        return UINT64_MAX;
    uint64_t epochs_ms = association_epochs_due_ms(a);
    uint64_t outgoing_ms = association_outgoing_due_ms(a);
    return epochs_ms < outgoing_ms ? epochs_ms : outgoing_ms;
}

void association_on_time(struct association *a, const struct association_call *call)
{
    bool has_begun = association_begin_change(a);
    association_drop_old_epochs(a, call);
    association_repeat_outgoing(a, call);
    association_end_change(a, has_begun);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static size_t keys_bytes(enum dtls_version version, enum aead aead)
{
    return version == VERSION_1_2 ? 2 * (aead_key_bytes(aead) + record12_iv_bytes(aead))
                                  : 2 * (record13_keys_bytes(aead) + record13_secret_bytes(aead));
}

size_t association_bytes(const struct taken *taken)
{
    return offsetof(struct association, keys) + keys_bytes(taken->version, taken->aead);
}

size_t association_size(const struct association *a)
{
    return offsetof(struct association, keys) + keys_bytes(a->version, a->aead);
}

static void init_12(struct association *a, const struct taken *taken)
{
    size_t key_bytes = aead_key_bytes(a->aead), iv_bytes = record12_iv_bytes(a->aead);
    uint8_t *at = a->keys;
    memcpy(at, taken->v12.read_key, key_bytes);
    memcpy(at += key_bytes, taken->v12.write_key, key_bytes);
    memcpy(at += key_bytes, taken->v12.read_iv, iv_bytes);
    memcpy(at + iv_bytes, taken->v12.write_iv, iv_bytes);
    a->v12.nonce_base = taken->v12.nonce_base;
    a->window = taken->v12.window;
}

bool association_init(struct association *a, const struct taken *taken, struct cells *cells,
                      uint64_t now_ms)
{
    memset(a, 0, association_bytes(taken));
    a->version = (uint8_t)taken->version;
    a->aead = (uint8_t)taken->aead;
    a->plaintext_max = taken->plaintext_max;
    a->write_next = taken->write_next;
    bool ok = association_set_cid(a, cells, taken->cid, taken->cid_len) &&
              association_set_client_cid(a, cells, taken->client_cid, taken->client_cid_len);
    if (ok && taken->version == VERSION_1_3) {
        ok = association_init_epochs(a, taken, cells, now_ms);
        association_take_ticket(a, &taken->v13.ticket, cells, now_ms);
    } else if (ok) {
        init_12(a, taken);
    }
    if (!ok)
        association_deinit(a, cells);
    return ok;
}

void association_deinit(struct association *a, struct cells *cells)
{
    association_drop_all_rare(a, cells);
    bytes_wipe(a, offsetof(struct association, keys) + keys_bytes(a->version, a->aead));
}
