#include "session/association_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "gate/record_forge.h"
#include "handshake/dtls_take_over.h"
#include "wire/record12.h"

const char *const scene_kinds_12[7] = {
    "1.2 psk ccm-8",
    "1.2 psk gcm",
    "1.2 certificate chacha",
    "1.2 psk ccm-8, cid",
    "1.2 psk ccm-8, cid 6",
    "1.2 psk ccm-8, cid 32",
    "1.2 psk ccm-8, fragment 512",
};
const char *const scene_kinds_13[7] = {
    "1.3 psk",        "1.3 psk ccm-8",   "1.3 psk chacha",  "1.3 psk, cid",
    "1.3 psk, cid 6", "1.3 psk, cid 32", "1.3 certificate",
};
static struct aead_work *work;
static struct region region;
static struct cells cells;

static void keep_sent(void *owner, const uint8_t *record, size_t len)
{
    struct scene *s = owner;
    if (s->sent_count == SCENE_SENT_MAX || len > sizeof(s->sent[0]))
        return;
    memcpy(s->sent[s->sent_count], record, len);
    s->sent_len[s->sent_count++] = len;
}

void scene_establish(struct scene *s)
{
    s->call = (struct association_call){
        .work = work, .cells = &cells, .now_ms = 1000, .send = keep_sent, .owner = s};
    s->owner_bytes = offsetof(struct owner, association) + association_bytes(&s->taken);
    s->owner = cells_take(&cells, CELLS_SESSIONS, s->owner_bytes);
    assert_non_null(s->owner);
    s->association = &s->owner->association;
    assert_true(association_init(s->association, &s->taken, &cells, s->call.now_ms));
    s->limits = *record_limits(s->taken.aead, s->taken.version == VERSION_1_3);
    if (s->taken.version == VERSION_1_3) {
        s->device_epoch = 3;
        assert_true(record13_derive(s->device_keys, s->taken.aead, s->taken.v13.read_secret) &&
                    record13_derive(s->gate_keys, s->taken.aead, s->taken.v13.write_secret));
    } else {
        s->device_next = s->association->window.next;
    }
}

void scene_take_over(struct scene *s, struct dtls_pair *pair)
{
    memset(s, 0, sizeof(*s));
    s->pair = pair;
    assert_true(dtls_take_over(pair->dtls, &s->taken));
    dtls_free(pair->dtls);
    pair->dtls = NULL;
    scene_establish(s);
}

/* No two are alike: each is a key, or makes one. */
static void fill_secret(uint8_t *secret, size_t len)
{
    static uint32_t count;
    memset(secret, 's', len);
    bytes_put32(secret, count++);
}

void scene_fill(struct scene *s, enum dtls_version version, enum aead aead, uint8_t cid_len)
{
    memset(s, 0, sizeof(*s));
    s->taken = (struct taken){.version = version,
                              .aead = aead,
                              .plaintext_max = RECORD_PLAINTEXT_MAX,
                              .cid_len = cid_len,
                              .client_cid_len = cid_len};
    memset(s->taken.cid, 'g', sizeof(s->taken.cid));
    memset(s->taken.client_cid, 'd', sizeof(s->taken.client_cid));
    if (version == VERSION_1_3) {
        fill_secret(s->taken.v13.read_secret, sizeof(s->taken.v13.read_secret));
        fill_secret(s->taken.v13.write_secret, sizeof(s->taken.v13.write_secret));
        fill_secret(s->taken.v13.handshake_keys, sizeof(s->taken.v13.handshake_keys));
    } else {
        fill_secret(s->taken.v12.read_key, sizeof(s->taken.v12.read_key));
        fill_secret(s->taken.v12.write_key, sizeof(s->taken.v12.write_key));
    }
}

void scene_make(struct scene *s, enum dtls_version version, enum aead aead, uint8_t cid_len)
{
    scene_fill(s, version, aead, cid_len);
    scene_establish(s);
}

void scene_begin(struct scene *s, struct dtls_pair *pair, const struct client_kind *kind)
{
    dtls_pair_meet_just(pair, kind);
    scene_take_over(s, pair);
    for (uint32_t i = 0; i < pair->to_client.count; i++)
        memory_client_receive(pair->client, pair->to_client.at[i].data, pair->to_client.at[i].len,
                              0);
    dtls_pair_empty(&pair->to_client);
    scene_hand_over(s);
    s->device_next += s->taken.version == VERSION_1_3 ? s->association->window.next : 0;
    assert_int_equal(pair->client->state, CLIENT_UP);
}

void scene_end(struct scene *s)
{
    const uint8_t *bytes = (const uint8_t *)s->association;
    association_deinit(s->association, &cells);
    for (size_t i = 0; i < association_bytes(&s->taken); i++)
        assert_int_equal(bytes[i], 0);
    cells_give(&cells, CELLS_SESSIONS, s->owner, s->owner_bytes);
    assert_int_equal(cells_bytes_taken(&cells), 0);
    taken_wipe(&s->taken);
}

/* What the device has sent: each datagram record by record; `opened` is of the last record. */
void scene_receive(struct scene *s, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += s->opened.record_len) {
        association_open(s->association, &s->call, data + at, len - at, at == 0, s->room,
                         &s->opened);
        assert_in_range(s->opened.record_len, 1, len - at);
    }
}

void scene_hand_to_gate(struct scene *s)
{
    for (uint32_t i = 0; i < s->pair->to_gate.count; i++)
        scene_receive(s, s->pair->to_gate.at[i].data, s->pair->to_gate.at[i].len);
    dtls_pair_empty(&s->pair->to_gate);
}

void scene_hand_to_device(struct scene *s)
{
    unsigned count = s->sent_count;
    s->sent_count = 0;
    for (unsigned i = 0; i < count; i++)
        memory_client_receive(s->pair->client, s->sent[i], s->sent_len[i], s->call.now_ms);
}

void scene_hand_over(struct scene *s)
{
    while (s->sent_count + s->pair->to_gate.count != 0) {
        scene_hand_to_device(s);
        scene_hand_to_gate(s);
    }
}

void scene_assert_both_ways(struct scene *s, const char *text)
{
    size_t len = strlen(text);
    assert_true(memory_client_send(s->pair->client, text, len));
    scene_hand_to_gate(s);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    assert_int_equal(s->opened.data_len, len);
    assert_memory_equal(s->opened.data, text, len);
    assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)text, len),
                     ASSOCIATION_SEALED);
    scene_hand_to_device(s);
    assert_int_equal(memory_client_last(s->pair->client).len, len);
    assert_memory_equal(memory_client_last(s->pair->client).data, text, len);
    scene_hand_over(s);
}

void scene_device_sends_in(struct scene *s, uint64_t epoch, const uint8_t *keys, uint64_t number,
                           uint8_t type, const void *data, size_t len)
{
    uint8_t record[1024], inner[600];
    memcpy(inner, data, len);
    inner[len] = type;
    memset(inner + len + 1, 0, 16);
    uint8_t first = (uint8_t)(0x2c | (epoch & 3) | (s->taken.cid_len != 0 ? FORGE_HAS_CID : 0));
    size_t record_len = record_forge_13(work, s->taken.aead, keys, first, s->taken.cid,
                                        s->taken.cid_len, number, inner, len + 17, record);
    s->sent_count = 0;
    scene_receive(s, record, record_len);
}

void scene_device_sends(struct scene *s, uint8_t type, const void *data, size_t len)
{
    uint8_t record[1024];
    if (s->taken.version == VERSION_1_3) {
        scene_device_sends_in(s, s->device_epoch, s->device_keys, s->device_next++, type, data,
                              len);
        return;
    }
    const struct record12_keys keys = {.aead = s->taken.aead,
                                       .key = s->taken.v12.read_key,
                                       .iv = s->taken.v12.read_iv,
                                       .cid = s->taken.cid,
                                       .cid_len = s->taken.cid_len};
    size_t record_len = record12_seal(work, &keys, s->device_next++, type, data, len, record);
    s->sent_count = 0;
    scene_receive(s, record, record_len);
}

void scene_device_acknowledges(struct scene *s, uint64_t epoch, uint64_t number)
{
    const struct record_number acked = {epoch, number};
    uint8_t ack[ACK_HEADER_BYTES + ACK_NUMBER_BYTES];
    message_write_ack(&acked, ack);
    scene_device_sends(s, RECORD_ACK, ack, sizeof(ack));
}

/* The device's view of what the gate has sent: the content of the record. */
struct record_content scene_gate_sent(struct scene *s, unsigned index, uint8_t *room)
{
    struct record_window window = {.next = 0, .seen = 0};
    struct record_content content;
    assert_true(index < s->sent_count);
    if (s->taken.version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = s->taken.aead,
                                           .key = s->taken.v12.write_key,
                                           .iv = s->taken.v12.write_iv,
                                           .cid = association_client_cid(s->association),
                                           .cid_len = s->association->client_cid_len,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
        assert_int_equal(
            record12_open(work, &keys, &window, s->sent[index], s->sent_len[index], room, &content),
            RECORD_OPENED);
        return content;
    }
    const struct record13_epoch epoch = {
        .epoch = s->association->v13.write_epoch, .keys = s->gate_keys, .window = &window};
    const struct record13_reader reader = {.aead = s->taken.aead,
                                           .epochs = &epoch,
                                           .epoch_count = 1,
                                           .cid = association_client_cid(s->association),
                                           .cid_len = s->association->client_cid_len,
                                           .plaintext_max = RECORD_PLAINTEXT_MAX};
    assert_int_equal(
        record13_open(work, &reader, s->sent[index], s->sent_len[index], true, room, &content),
        RECORD_OPENED);
    return content;
}

void scene_assert_alert(struct scene *s, uint8_t level, enum alert alert)
{
    uint8_t room[2048];
    struct record_content content = scene_gate_sent(s, 0, room);
    assert_int_equal(content.type, RECORD_ALERT);
    assert_int_equal(content.data_len, 2);
    assert_int_equal(content.data[0], level);
    assert_int_equal(content.data[1], alert);
}

static size_t write_message(struct scene *s, uint8_t type, const void *body, size_t len,
                            uint8_t *out)
{
    message_write_header(type, (uint32_t)len, s->association->v13.message_seq_expected, out);
    memcpy(out + HANDSHAKE_HEADER_BYTES, body, len);
    return HANDSHAKE_HEADER_BYTES + len;
}

void scene_device_sends_message(struct scene *s, uint8_t type, const void *body, size_t len)
{
    uint8_t message[600];
    size_t message_len = write_message(s, type, body, len, message);
    scene_device_sends(s, RECORD_HANDSHAKE, message, message_len);
}

void scene_assert_acknowledged(struct scene *s, unsigned index, uint64_t number)
{
    uint8_t room[2048];
    struct record_content content = scene_gate_sent(s, index, room);
    assert_int_equal(content.type, RECORD_ACK);
    assert_int_equal(message_count_acks(content.data, content.data_len), 1);
    assert_int_equal(message_get_ack(content.data, 0).number, number);
}

void scene_forge_in(struct scene *s, uint64_t epoch)
{
    enum { LEN = 96 };
    uint8_t record[LEN] = {0}, cid_len = s->taken.cid_len;
    if (s->taken.version == VERSION_1_2) {
        record[0] = cid_len != 0 ? RECORD_TLS12_CID : RECORD_APPLICATION_DATA;
        bytes_put16(record + 1, 0xfefd);
        bytes_put16(record + 3, (uint16_t)epoch);
        bytes_put32(record + 7, 1000);
        memcpy(record + 11, s->taken.cid, cid_len);
        bytes_put16(record + 11 + cid_len, (uint16_t)(LEN - 13 - cid_len));
    } else {
        record[0] = (uint8_t)(0x28 | (epoch & 3) | (cid_len != 0 ? FORGE_HAS_CID : 0));
        memcpy(record + 1, s->taken.cid, cid_len);
    }
    scene_receive(s, record, sizeof(record));
}

void scene_forge(struct scene *s)
{
    scene_forge_in(s, s->taken.version == VERSION_1_3 ? s->association->v13.read_epoch : 1);
}

void scene_device_changes_keys(struct scene *s)
{
    uint8_t *secret = s->taken.v13.read_secret;
    scene_device_sends_message(s, HANDSHAKE_KEY_UPDATE, "", KEY_UPDATE_BYTES);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_true(record13_update(s->taken.aead, secret, secret) &&
                record13_derive(s->device_keys, s->taken.aead, secret));
    s->device_epoch++;
    s->device_next = 0;
}

int scene_set_up(void **state)
{
    struct err err;
    work = aead_work_new();
    if (!region_create(&region, &err))
        return -1;
    cells_init(&cells, &region);
    return work == NULL ? -1 : dtls_pair_set_up(state);
}

int scene_tear_down(void **state)
{
    aead_work_free(work);
    region_close(&region);
    return dtls_pair_tear_down(state);
}
