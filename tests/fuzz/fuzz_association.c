/* An authenticated device that means harm: it owns valid keys and sends records of any type and
 * content, in any order, beside bytes of strangers; time passes, the backend talks, keys change.
 * The association must not crash, never use a number or a nonce twice under one key, and never say
 * more than a little to each record. First byte: version, suite, connection IDs; then operations.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gate/nonce_watch.h"
#include "gate/record_forge.h"
#include "session/association.h"
#include "wire/record12.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OF_EPOCH_2 = 0x80 }; /* of the form of a record of DTLS 1.3, beside FORGE_... */
enum { RECORDS_FOR_ONE_MAX = 8, ROOM = RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD_MAX };

static void must(bool condition)
{
    if (!condition)
        abort();
}

struct scene {
    struct taken taken;
    struct association *association; /* of its very size, for the sanitizer */
    struct association_call call;
    struct record_limits limits;
    uint8_t device_keys[RECORD13_KEYS_MAX];
    uint8_t device_secret[RECORD13_SECRET_MAX];
    uint64_t device_epoch, device_next;
    uint64_t handshake_next; /* number of the device's next record of epoch 2 */
    unsigned sent;
    uint64_t last_epoch, last_number_plus_1; /* of what the gate has sealed */
};

static void on_send(void *owner, const uint8_t *record, size_t len)
{
    struct scene *s = owner;
    const struct association *a = s->association;
    uint64_t epoch = a->version == VERSION_1_3 ? a->v13.write_epoch : 1;
    (void)record;
    must(len != 0 && len <= ROOM);
    /* write_next has moved on before the record leaves, and numbers only grow. */
    must(epoch > s->last_epoch ||
         (epoch == s->last_epoch && a->write_next > s->last_number_plus_1));
    s->last_epoch = epoch;
    s->last_number_plus_1 = a->write_next;
    s->sent++;
}

static const enum aead aeads[] = {AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_AES_128_CCM_8,
                                  AEAD_CHACHA20_POLY1305};

static bool begin(struct scene *s, struct aead_work *work, struct cells *cells, uint8_t first)
{
    static const uint8_t cid_lens[] = {0, 1, 8, 32};
    s->taken = (struct taken){
        .version = (first & 1) != 0 ? VERSION_1_3 : VERSION_1_2,
        .aead = aeads[first >> 1 & 3],
        .plaintext_max = (first & 0x80) != 0 ? 512 : RECORD_PLAINTEXT_MAX,
        .cid_len = cid_lens[first >> 3 & 3],
        .client_cid_len = cid_lens[first >> 5 & 3],
    };
    memset(s->taken.cid, 'g', sizeof(s->taken.cid));
    memset(s->taken.client_cid, 'd', sizeof(s->taken.client_cid));
    if (s->taken.version == VERSION_1_3) {
        memset(s->taken.v13.read_secret, 'r', sizeof(s->taken.v13.read_secret));
        memset(s->taken.v13.write_secret, 'w', sizeof(s->taken.v13.write_secret));
        memset(s->device_secret, 'r', sizeof(s->device_secret));
        s->taken.v13.message_seq_expected = 3;
        s->taken.v13.message_seq_next = 7;
        if (!record13_derive(s->device_keys, s->taken.aead, s->device_secret))
            return false;
    } else {
        memset(s->taken.v12.read_key, 'r', sizeof(s->taken.v12.read_key));
        memset(s->taken.v12.write_key, 'w', sizeof(s->taken.v12.write_key));
    }
    s->device_epoch = s->taken.version == VERSION_1_3 ? 3 : 1;
    s->call = (struct association_call){
        .work = work, .cells = cells, .now_ms = 1, .send = on_send, .owner = s};
    s->association = cells_take(cells, CELLS_SESSIONS, association_bytes(&s->taken));
    return s->association != NULL &&
           association_init(s->association, &s->taken, cells, s->call.now_ms);
}

/* False if the session has ended. */
static bool receive(struct scene *s, const uint8_t *datagram, size_t len)
{
    static uint8_t room[ROOM];
    struct association_opened opened;
    for (size_t at = 0; at < len; at += opened.record_len) {
        s->sent = 0;
        association_open(s->association, &s->call, datagram + at, len - at, at == 0, room, &opened);
        must(opened.record_len > 0 && opened.record_len <= len - at);
        must(s->sent <= RECORDS_FOR_ONE_MAX);
        must(opened.event != ASSOCIATION_DATA || opened.data_len <= s->association->plaintext_max);
        if (opened.event > ASSOCIATION_CLOSED)
            return false;
        must(!association_has_gap(s->association) || s->association->is_closed);
    }
    return true;
}

/* A call too many is harmless; after one nothing is due any more. */
static void let_time_pass(struct scene *s, uint64_t ms)
{
    s->call.now_ms += ms;
    association_on_time(s->association, &s->call);
    must(association_due_ms(s->association) > s->call.now_ms);
}

static bool device_sends(struct scene *s, uint8_t form, uint8_t type, const uint8_t *content,
                         size_t len)
{
    uint8_t record[512], inner[300];
    const struct association *a = s->association;
    size_t record_len;
    if (a->version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = a->aead,
                                           .key = s->taken.v12.read_key,
                                           .iv = s->taken.v12.read_iv,
                                           .cid = s->taken.cid,
                                           .cid_len = a->cid_len};
        record_len =
            record12_seal(s->call.work, &keys, s->device_next++, type, content, len, record);
    } else {
        memcpy(inner, content, len);
        inner[len] = type;
        memset(inner + len + 1, 0, 16);
        bool is_old = (form & OF_EPOCH_2) != 0;
        uint8_t first =
            (uint8_t)(0x20 | (form & (FORGE_HAS_16_BITS | FORGE_HAS_LENGTH)) |
                      (a->cid_len != 0 ? FORGE_HAS_CID : 0) | (is_old ? 2 : s->device_epoch & 3));
        record_len = record_forge_13(
            s->call.work, a->aead, is_old ? s->taken.v13.handshake_keys : s->device_keys, first,
            s->taken.cid, a->cid_len, is_old ? s->handshake_next++ : s->device_next++, inner,
            len + 17, record);
    }
    return receive(s, record, record_len);
}

static void device_changes_keys(struct scene *s)
{
    if (s->association->version != VERSION_1_3)
        return;
    must(record13_update(s->association->aead, s->device_secret, s->device_secret) &&
         record13_derive(s->device_keys, s->association->aead, s->device_secret));
    s->device_epoch++;
    s->device_next = 0;
}

/* One operation; the bytes it takes, 0 = the session has ended. */
static size_t operate(struct scene *s, const uint8_t *at, size_t left)
{
    size_t len = at[1] < left - 3 ? at[1] : left - 3;
    bool goes_on = true;
    switch (at[0] % 8) {
    case 0: goes_on = receive(s, at + 3, len); break;
    case 1: goes_on = device_sends(s, at[2], at[0], at + 3, len); break;
    case 2: goes_on = device_sends(s, at[2], (uint8_t)(20 + at[2] % 8), at + 3, len); break;
    case 3: let_time_pass(s, (uint64_t)at[2] * 1000); break;
    case 4:
        must(association_seal(s->association, &s->call, at + 3, len) <= ASSOCIATION_NO_KEYS);
        break;
    case 5: device_changes_keys(s); break;
    case 6: association_update_keys(s->association, &s->call); break;
    default:
        s->limits = (struct record_limits){.sealed = 4u + at[2], .forged = 2u + at[1]};
        s->call.limits = &s->limits;
        break;
    }
    return goes_on ? 3 + len : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct region region; /* for all inputs */
    static struct cells cells;
    struct err err;
    static bool is_ready;
    struct scene s = {0};
    struct aead_work *work = aead_work_new();
    if (!is_ready && region_create(&region, &err))
        cells_init(&cells, &region);
    is_ready = true;
    nonce_watch_reset(); /* the keys are the same in each run */
    if (size != 0 && work != NULL && begin(&s, work, &cells, data[0])) {
        size_t at = 1, taken;
        while (size - at >= 3 && (taken = operate(&s, data + at, size - at)) != 0)
            at += taken;
        association_deinit(s.association, &cells);
        cells_give(&cells, CELLS_SESSIONS, s.association, association_bytes(&s.taken));
        must(cells_bytes_taken(&cells) == 0);
    }
    aead_work_free(work);
    return 0;
}
