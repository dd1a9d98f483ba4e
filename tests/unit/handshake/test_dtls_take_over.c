/* dtls_take_over.c: once the object is freed, our own record layer goes on with the device, which
 * does not notice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "base/bytes.h"
#include "gate/client_kinds.h"
#include "gate/dtls_pair.h"
#include "handshake/dtls_take_over.h"
#include "wire/record12.h"
#include "wire/record13.h"

enum { ROOM = 2048 };

static const char *const kinds[] = {
    "1.2 psk ccm-8",
    "1.2 psk ccm",
    "1.2 psk gcm",
    "1.2 certificate",
    "1.2 certificate gcm",
    "1.2 certificate gcm-256",
    "1.2 certificate chacha",
    "1.2 psk ccm-8, cid",
    "1.2 psk ccm-8, cid 1",
    "1.2 certificate any, cid 6",
    "1.2 psk ccm-8, cid 32",
    "1.2 psk ccm-8, fragment 512",
    "1.2 psk ccm-8, ticket",
    "1.3 psk",
    "1.3 psk ccm",
    "1.3 psk ccm-8",
    "1.3 psk chacha",
    "1.3 psk, large hello",
    "1.3 certificate",
    "1.3 psk, cid",
    "1.3 psk ccm, cid 6",
    "1.3 certificate any, cid 32",
    "1.3 psk, fragment 512",
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* The session as it would be kept. */
struct kept {
    struct taken taken;
    struct record_window window;
    uint8_t read_keys[RECORD13_KEYS_MAX], write_keys[RECORD13_KEYS_MAX];
    uint64_t epoch;
};

static struct aead_work *work;

static void take_over(struct dtls_pair *p, struct kept *kept)
{
    memset(kept, 0, sizeof(*kept));
    assert_true(dtls_take_over(p->dtls, &kept->taken));
    const struct taken *taken = &kept->taken;
    dtls_free(p->dtls);
    p->dtls = NULL;
    if (taken->version == VERSION_1_2) {
        kept->window = taken->v12.window;
        return;
    }
    kept->epoch = 3;
    assert_true(record13_derive(kept->read_keys, taken->aead, taken->v13.read_secret));
    assert_true(record13_derive(kept->write_keys, taken->aead, taken->v13.write_secret));
}

static void seal(struct dtls_pair *p, struct kept *kept, uint8_t type, const void *data, size_t len)
{
    struct taken *taken = &kept->taken;
    uint8_t record[ROOM];
    size_t record_len;
    if (taken->version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = taken->aead,
                                           .key = taken->v12.write_key,
                                           .iv = taken->v12.write_iv,
                                           .cid = taken->client_cid,
                                           .cid_len = taken->client_cid_len,
                                           .nonce_base = taken->v12.nonce_base};
        record_len = record12_seal(work, &keys, taken->write_next++, type, data, len, record);
    } else {
        const struct record13_writer writer = {.aead = taken->aead,
                                               .epoch = 3,
                                               .keys = kept->write_keys,
                                               .cid = taken->client_cid,
                                               .cid_len = taken->client_cid_len};
        record_len = record13_seal(work, &writer, taken->write_next++, type, data, len, record);
    }
    assert_int_not_equal(record_len, 0);
    memory_client_receive(p->client, record, record_len, 0);
}

static enum record_verdict open_record(struct kept *kept, const struct client_message *datagram,
                                       uint8_t *room, struct record_content *content)
{
    const struct taken *taken = &kept->taken;
    if (taken->version == VERSION_1_2) {
        const struct record12_keys keys = {.aead = taken->aead,
                                           .key = taken->v12.read_key,
                                           .iv = taken->v12.read_iv,
                                           .cid = taken->cid,
                                           .cid_len = taken->cid_len,
                                           .plaintext_max = taken->plaintext_max};
        return record12_open(work, &keys, &kept->window, datagram->data, datagram->len, room,
                             content);
    }
    const struct record13_epoch epoch = {
        .epoch = kept->epoch, .keys = kept->read_keys, .window = &kept->window};
    const struct record13_reader reader = {.aead = taken->aead,
                                           .epochs = &epoch,
                                           .epoch_count = 1,
                                           .cid = taken->cid,
                                           .cid_len = taken->cid_len,
                                           .plaintext_max = taken->plaintext_max};
    return record13_open(work, &reader, datagram->data, datagram->len, true, room, content);
}

/* Opens the one record that the device has sent. */
static void expect_record(struct dtls_pair *p, struct kept *kept, uint8_t type, const void *data,
                          size_t len)
{
    uint8_t room[ROOM];
    struct record_content content;
    assert_int_equal(p->to_gate.count, 1);
    assert_int_equal(open_record(kept, &p->to_gate.at[0], room, &content), RECORD_OPENED);
    assert_int_equal(content.record_len, p->to_gate.at[0].len);
    assert_int_equal(content.type, type);
    assert_int_equal(content.data_len, len);
    assert_memory_equal(content.data, data, len);
    dtls_pair_empty(&p->to_gate);
}

static void assert_both_ways(struct dtls_pair *p, struct kept *kept, const char *text)
{
    size_t len = strlen(text);
    assert_true(memory_client_send(p->client, text, len));
    expect_record(p, kept, RECORD_APPLICATION_DATA, text, len);
    seal(p, kept, RECORD_APPLICATION_DATA, text, len);
    assert_int_equal(memory_client_last(p->client).len, len);
    assert_memory_equal(memory_client_last(p->client).data, text, len);
}

static void the_device_does_not_notice(void **test)
{
    static const uint8_t close_notify[] = {1, 0};
    struct dtls_pair *p = *test;
    struct kept kept;
    for (int i = 0; i < KINDS; i++) {
        const struct client_kind *kind = gate_kind(kinds[i]);
        dtls_pair_meet_well(p, kind);
        take_over(p, &kept);
        assert_int_equal(kept.taken.cid_len, kind->has_cid ? sizeof(dtls_pair_cid) : 0);
        assert_int_equal(kept.taken.client_cid_len, kind->cid_bytes);
        assert_int_equal(kept.taken.plaintext_max,
                         kind->max_fragment == 1 ? 512 : RECORD_PLAINTEXT_MAX);
        for (int round = 0; round < 3; round++)
            assert_both_ways(p, &kept, "there and back");
        if (i % 2 == 0) {
            memory_client_close(p->client);
            expect_record(p, &kept, RECORD_ALERT, close_notify, sizeof(close_notify));
        } else {
            seal(p, &kept, RECORD_ALERT, close_notify, sizeof(close_notify));
            assert_int_equal(p->client->state, CLIENT_CLOSED);
        }
        bytes_wipe(&kept, sizeof(kept));
    }
}

/* T8: the library goes on with numbers and nonces exactly where the record layer begins. */
static void the_next_record_is_the_librarys(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        struct taken taken;
        dtls_pair_meet_well(p, gate_kind(kinds[i]));
        if (dtls_version(p->dtls) != VERSION_1_2)
            continue;
        assert_true(dtls_take_over(p->dtls, &taken));
        const struct record12_keys keys = {.aead = taken.aead,
                                           .key = taken.v12.write_key,
                                           .iv = taken.v12.write_iv,
                                           .cid = taken.client_cid,
                                           .cid_len = taken.client_cid_len,
                                           .nonce_base = taken.v12.nonce_base};
        for (int round = 0; round < 3; round++) {
            uint8_t record[ROOM];
            size_t len = record12_seal(work, &keys, taken.write_next + (uint64_t)round,
                                       RECORD_APPLICATION_DATA, (const uint8_t *)"abc", 3, record);
            assert_int_equal(wolfSSL_write(p->dtls->ssl, "abc", 3), 3);
            assert_int_equal(p->to_client.count, 1);
            assert_int_equal(p->to_client.at[0].len, len);
            assert_memory_equal(p->to_client.at[0].data, record, len);
            dtls_pair_empty(&p->to_client);
        }
    }
}

/* R15: what the device sends under its next keys. */
static void keys_of_the_next_epoch(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        struct kept kept;
        uint8_t room[ROOM], ack[2 + 16] = {0, 16};
        struct record_content content;
        dtls_pair_meet_well(p, gate_kind(kinds[i]));
        take_over(p, &kept);
        if (kept.taken.version != VERSION_1_3)
            continue;
        memory_client_update_keys(p->client, 0);
        assert_int_equal(p->to_gate.count, 1);
        assert_int_equal(open_record(&kept, &p->to_gate.at[0], room, &content), RECORD_OPENED);
        assert_int_equal(content.type, RECORD_HANDSHAKE);
        assert_int_equal(bytes_get16(content.data + 4), kept.taken.v13.message_seq_expected);
        dtls_pair_empty(&p->to_gate);
        ack[9] = 3;
        ack[17] = (uint8_t)content.number;
        seal(p, &kept, RECORD_ACK, ack, sizeof(ack));
        assert_true(record13_update(kept.taken.aead, kept.taken.v13.read_secret,
                                    kept.taken.v13.read_secret));
        assert_true(record13_derive(kept.read_keys, kept.taken.aead, kept.taken.v13.read_secret));
        kept.window = (struct record_window){0};
        kept.epoch = 4;
        assert_both_ways(p, &kept, "under new keys");
        bytes_wipe(&kept, sizeof(kept));
    }
}

/* T6: until the device has acknowledged it, the ticket is there to be repeated. */
static void a_ticket_is_left_to_repeat(void **test)
{
    enum { NEW_SESSION_TICKET = 4, HEADER = 12 };
    struct dtls_pair *p = *test;
    struct taken taken;
    const struct taken_ticket *ticket = &taken.v13.ticket;
    dtls_pair_meet_briefly(p, gate_kind("1.3 psk"));
    /* What is for the device is handed over, but nothing after its Finished. */
    while (!p->was_established) {
        for (uint32_t i = 0; i < p->to_client.count; i++)
            memory_client_receive(p->client, p->to_client.at[i].data, p->to_client.at[i].len, 0);
        dtls_pair_empty(&p->to_client);
        assert_true(p->to_gate.count != 0);
        for (uint32_t i = 0; i < p->to_gate.count; i++)
            dtls_pair_feed(p, p->to_gate.at[i].data, p->to_gate.at[i].len);
        dtls_pair_empty(&p->to_gate);
    }
    assert_true(dtls_take_over(p->dtls, &taken));
    assert_int_equal(ticket->count, 1);
    assert_int_equal(ticket->fragments[0].at, 0);
    assert_int_equal(ticket->fragments[0].len, ticket->bytes_len);
    assert_true(ticket->bytes_len > HEADER);
    assert_int_equal(ticket->bytes[0], NEW_SESSION_TICKET);
    assert_int_equal(bytes_get24(ticket->bytes + 9), ticket->bytes_len - HEADER);
    assert_int_equal(ticket->fragments[0].number_count, 1);
    taken_wipe(&taken);
}

static void not_before_it_is_established(void **test)
{
    struct dtls_pair *p = *test;
    struct taken taken;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_briefly(p, gate_kind(kinds[i]));
        assert_false(dtls_take_over(p->dtls, &taken));
    }
}

static int set_up(void **state)
{
    work = aead_work_new();
    return work == NULL ? -1 : dtls_pair_set_up(state);
}

static int tear_down(void **state)
{
    aead_work_free(work);
    return dtls_pair_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_does_not_notice),
        cmocka_unit_test(the_next_record_is_the_librarys),
        cmocka_unit_test(keys_of_the_next_epoch),
        cmocka_unit_test(a_ticket_is_left_to_repeat),
        cmocka_unit_test(not_before_it_is_established),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
