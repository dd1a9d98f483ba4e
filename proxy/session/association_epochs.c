/* The keys of DTLS 1.3: the present ones of both directions, those before that are still read, and
 * those of the handshake's epoch. */
#include "session/association_inside.h"

#include <string.h>

#include "base/bytes.h"

enum { HANDSHAKE_EPOCH = 2, FIRST_EPOCH = 3, EPOCHS_READ_MAX = 3 };

/* Keys that read an epoch which is not the present one. */
struct association_epoch {
    struct association_rare rare;
    uint64_t until_ms; /* UINT64_MAX: until a record of the next epoch comes */
    struct record_window window;
    uint64_t forged;
    uint16_t epoch;
    uint8_t keys[]; /* record13_keys_bytes() */
};

static const enum association_rare_kind OLD[] = {RARE_PREVIOUS_EPOCH, RARE_HANDSHAKE_EPOCH};
enum { OLD_COUNT = sizeof(OLD) / sizeof(OLD[0]) };

/* ---- where which keys are ------------------------------------------------------------------- */

static uint8_t *write_keys(struct association *a)
{
    return a->keys + record13_keys_bytes(a->aead);
}

static uint8_t *read_secret(struct association *a)
{
    return a->keys + 2 * record13_keys_bytes(a->aead);
}

static uint8_t *write_secret(struct association *a)
{
    return read_secret(a) + record13_secret_bytes(a->aead);
}

static struct association_epoch *add_epoch(struct association *a, struct cells *cells,
                                           enum association_rare_kind kind, const uint8_t *keys)
{
    size_t keys_bytes = record13_keys_bytes(a->aead);
    struct association_epoch *epoch =
        association_add_rare(a, cells, kind, offsetof(struct association_epoch, keys) + keys_bytes);
    if (epoch != NULL)
        memcpy(epoch->keys, keys, keys_bytes);
    return epoch;
}

bool association_init_epochs(struct association *a, const struct taken *taken, struct cells *cells,
                             uint64_t now_ms)
{
    size_t secret_bytes = record13_secret_bytes(a->aead);
    a->v13.read_epoch = a->v13.write_epoch = FIRST_EPOCH;
    a->v13.message_seq_next = taken->v13.message_seq_next;
    a->v13.message_seq_expected = taken->v13.message_seq_expected;
    memcpy(read_secret(a), taken->v13.read_secret, secret_bytes);
    memcpy(write_secret(a), taken->v13.write_secret, secret_bytes);
    struct association_epoch *handshake =
        add_epoch(a, cells, RARE_HANDSHAKE_EPOCH, taken->v13.handshake_keys);
    if (handshake == NULL)
        return false;
    handshake->epoch = HANDSHAKE_EPOCH;
    handshake->window = taken->v13.handshake_window;
    handshake->until_ms = now_ms + ASSOCIATION_REMAINDER_MS;
    return record13_derive(a->keys, a->aead, taken->v13.read_secret) &&
           record13_derive(write_keys(a), a->aead, taken->v13.write_secret);
}

bool association_epoch_is_sound(const struct association *a, const struct association_rare *rare)
{
    const struct association_epoch *epoch = (const struct association_epoch *)rare;
    return rare->bytes == offsetof(struct association_epoch, keys) + record13_keys_bytes(a->aead) &&
           epoch->window.next <= (uint64_t)1 << 48 &&
           (rare->kind == RARE_HANDSHAKE_EPOCH ? epoch->epoch == HANDSHAKE_EPOCH
                                               : epoch->epoch == a->v13.read_epoch - 1);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* R17, of each epoch by itself: of an older one only the keys go. */
static void note_forgery(struct association *a, const struct association_call *call, uint64_t epoch)
{
    if (epoch == a->v13.read_epoch) {
        a->forged++;
        return;
    }
    for (int i = 0; i < OLD_COUNT; i++) {
        struct association_epoch *old = association_find_rare(a, OLD[i]);
        if (old != NULL && old->epoch == epoch &&
            ++old->forged >= association_limits(a, call)->forged)
            association_drop_rare(a, call->cells, OLD[i]);
    }
}

/* The device uses its new keys, so it has heard our ACK (R15). */
static void on_new_keys_used(struct association *a, uint64_t now_ms)
{
    struct association_epoch *previous = association_find_rare(a, RARE_PREVIOUS_EPOCH);
    if (previous != NULL && previous->until_ms == UINT64_MAX)
        previous->until_ms = now_ms + ASSOCIATION_OLD_KEYS_MS;
}

enum record_verdict association_open_epochs(struct association *a,
                                            const struct association_call *call,
                                            const uint8_t *data, size_t len, bool is_first,
                                            uint8_t *room, struct record_content *content)
{
    struct record13_epoch epochs[EPOCHS_READ_MAX] = {
        {.epoch = a->v13.read_epoch, .keys = a->keys, .window = &a->window}};
    size_t count = 1;
    for (int i = 0; i < OLD_COUNT; i++) {
        struct association_epoch *old = association_find_rare(a, OLD[i]);
        if (old != NULL)
            epochs[count++] = (struct record13_epoch){
                .epoch = old->epoch, .keys = old->keys, .window = &old->window};
    }
    const struct record13_reader reader = {
        .aead = a->aead,
        .epochs = epochs,
        .epoch_count = count,
        .cid = association_cid(a),
        .cid_len = a->cid_len,
        .plaintext_max = a->plaintext_max,
    };
    enum record_verdict verdict =
        record13_open(call->work, &reader, data, len, is_first, room, content);
    if (verdict == RECORD_FORGED && !call->is_contested)
        note_forgery(a, call, content->epoch);
    if (verdict == RECORD_OPENED && content->epoch == a->v13.read_epoch)
        on_new_keys_used(a, call->now_ms);
    return verdict;
}

/* ---- the next epoch ------------------------------------------------------------------------- */

static bool make_next(struct association *a, uint8_t *secret, uint8_t *keys)
{
    return record13_update(a->aead, secret, secret) && record13_derive(keys, a->aead, secret);
}

/* R15. Whoever changes keys twice has heard from us in between, so what is still older is of no
 * use. */
bool association_next_read_epoch(struct association *a, const struct association_call *call)
{
    if (a->v13.read_epoch == UINT16_MAX)
        return false;
    struct association_epoch *old = add_epoch(a, call->cells, RARE_PREVIOUS_EPOCH, a->keys);
    if (old == NULL)
        return false;
    old->epoch = a->v13.read_epoch++;
    old->window = a->window;
    old->forged = a->forged;
    old->until_ms = UINT64_MAX;
    a->v13.has_asked_update = false;
    a->window = (struct record_window){0};
    a->forged = 0;
    if ((a->v13.read_epoch & 3) == HANDSHAKE_EPOCH) /* the same bits in the header (T5) */
        association_drop_rare(a, call->cells, RARE_HANDSHAKE_EPOCH);
    return make_next(a, read_secret(a), a->keys);
}

bool association_next_write_epoch(struct association *a)
{
    if (a->v13.write_epoch == UINT16_MAX || !make_next(a, write_secret(a), write_keys(a)))
        return false;
    a->v13.write_epoch++;
    a->write_next = 0;
    return true;
}

/* ---- time ----------------------------------------------------------------------------------- */

uint64_t association_epochs_due_ms(const struct association *a)
{
    uint64_t due_ms = UINT64_MAX;
    for (int i = 0; i < OLD_COUNT; i++) {
        const struct association_epoch *old = association_find_rare(a, OLD[i]);
        if (old != NULL && old->until_ms < due_ms)
            due_ms = old->until_ms;
    }
    return due_ms;
}

void association_drop_old_epochs(struct association *a, const struct association_call *call)
{
    for (int i = 0; i < OLD_COUNT; i++) {
        const struct association_epoch *old = association_find_rare(a, OLD[i]);
        if (old != NULL && call->now_ms >= old->until_ms)
            association_drop_rare(a, call->cells, OLD[i]);
    }
}

const struct record_window *association_previous_window(const struct association *a)
{
    const struct association_epoch *previous = association_find_rare(a, RARE_PREVIOUS_EPOCH);
    return previous != NULL ? &previous->window : NULL;
}
