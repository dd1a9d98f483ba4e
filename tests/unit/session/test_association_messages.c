/* association_messages.c: connection IDs, messages in fragments, early and late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "session/association_scene.h"

static struct scene scene;

/* ---- connection IDs (R18, R19, N26) ---------------------------------------------------------- */

static void a_new_connection_id_is_used(void **test)
{
    static const uint8_t immediate[] = {0, 8, 4, 'n', 'e', 'w', '!', 2, 'x', 'y', CID_IMMEDIATE};
    static const uint8_t longer[] = {0,   13,  12,  'l', 'o', 'n', 'g', 'e',
                                     'r', ' ', 't', 'h', 'a', 'n', '8', CID_IMMEDIATE};
    static const uint8_t spare[] = {0, 3, 2, 'x', 'y', CID_SPARE};
    static const uint8_t none[] = {0, 0, CID_IMMEDIATE}, empty[] = {0, 1, 0, CID_IMMEDIATE},
                         cut[] = {0, 3, 4, 'x', 'y', CID_IMMEDIATE};
    struct scene *s = &scene;
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->association->client_cid_len, 4);
    assert_memory_equal(association_client_cid(s->association), "new!", 4);
    assert_int_equal(s->sent_count, 1);
    assert_memory_equal(s->sent[0] + 1, "new!", 4);
    scene_assert_acknowledged(s, 0, s->device_next - 1);
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, spare, sizeof(spare));
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_memory_equal(association_client_cid(s->association), "new!", 4);
    assert_int_equal(s->sent_count, 1);
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, longer, sizeof(longer));
    assert_int_equal(s->association->client_cid_len, 12);
    assert_memory_equal(s->sent[0] + 1, "longer than8", 12);
    scene_assert_acknowledged(s, 0, s->device_next - 1);
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    assert_int_equal(s->association->client_cid_len, 4);
    assert_memory_equal(s->sent[0] + 1, "new!", 4);
    assert_null(association_find_rare(s->association, RARE_LONG_CIDS));
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, none, sizeof(none));
    scene_assert_alert(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    scene_end(s);
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, empty, sizeof(empty));
    scene_assert_alert(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    scene_end(s);
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, cut, sizeof(cut));
    scene_assert_alert(s, ALERT_FATAL, ALERT_DECODE_ERROR);
    scene_end(s);
    scene_begin(s, *test, gate_kind("1.3 psk, cid")); /* the device has none */
    scene_device_sends_message(s, HANDSHAKE_NEW_CONNECTION_ID, immediate, sizeof(immediate));
    scene_assert_alert(s, ALERT_FATAL, ALERT_UNEXPECTED_MESSAGE);
    scene_end(s);
}

static void there_are_no_further_connection_ids(void **test)
{
    struct scene *s = &scene;
    uint8_t room[2048];
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\3", 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->sent_count, 2);
    scene_assert_acknowledged(s, 0, s->device_next - 1);
    struct record_content answer = scene_gate_sent(s, 1, room);
    static const uint8_t expected[] = {0, 0, CID_SPARE};
    assert_int_equal(answer.type, RECORD_HANDSHAKE);
    assert_int_equal(answer.data[0], HANDSHAKE_NEW_CONNECTION_ID);
    assert_int_equal(answer.data_len, HANDSHAKE_HEADER_BYTES + sizeof(expected));
    assert_memory_equal(answer.data + HANDSHAKE_HEADER_BYTES, expected, sizeof(expected));
    scene_end(s);
    scene_begin(s, *test, gate_kind("1.3 psk")); /* without connection IDs */
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\3", 1);
    scene_assert_alert(s, ALERT_FATAL, ALERT_UNEXPECTED_MESSAGE);
    scene_end(s);
}

/* What we say of them is repeated until it is acknowledged, as every message is. */
static void the_answer_is_repeated_until_it_is_acknowledged(void **test)
{
    struct scene *s = &scene;
    uint8_t room[2048];
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_AES_128_CCM_8, 8);
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\3", 1);
    assert_int_equal(s->sent_count, 2);
    uint16_t seq = bytes_get16(scene_gate_sent(s, 1, room).data + 4);
    s->sent_count = 0;
    s->call.now_ms += ASSOCIATION_REPEAT_MS;
    association_on_time(s->association, &s->call);
    assert_int_equal(s->sent_count, 1); /* record 2: behind the ACK and the first one */
    struct record_content again = scene_gate_sent(s, 0, room);
    assert_int_equal(again.data[0], HANDSHAKE_NEW_CONNECTION_ID);
    assert_int_equal(bytes_get16(again.data + 4), seq);
    scene_device_acknowledges(s, 3, 2);
    assert_int_equal(association_due_ms(s->association), 1000 + ASSOCIATION_REMAINDER_MS);
    scene_end(s);
}

/* ---- messages in fragments, early and late (R13, R14) -----------------------------------------
 */

static void device_sends_fragment(struct scene *s, uint8_t type, uint16_t seq, const uint8_t *body,
                                  uint32_t len, uint32_t from, uint32_t to)
{
    uint8_t record[600];
    message_write_header(type, len, seq, record);
    bytes_put16(record + 7, (uint16_t)from);
    bytes_put16(record + 10, (uint16_t)(to - from));
    memcpy(record + HANDSHAKE_HEADER_BYTES, body + from, to - from);
    scene_device_sends(s, RECORD_HANDSHAKE, record, HANDSHAKE_HEADER_BYTES + to - from);
}

static void messages_in_fragments(void **test)
{
    static const uint8_t body[] = {0, 8, 4, 'n', 'e', 'w', '!', 2, 'x', 'y', CID_IMMEDIATE};
    struct scene *s = &scene;
    for (uint32_t cut = 0; cut <= sizeof(body); cut++) {
        for (uint32_t overlap = 0; overlap <= cut; overlap++) {
            for (int turned = 0; turned < 2; turned++) {
                scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
                uint16_t seq = s->association->v13.message_seq_expected;
                uint32_t edges[2][2] = {{0, cut}, {cut - overlap, sizeof(body)}};
                for (int i = 0; i < 2; i++) {
                    const uint32_t *edge = edges[turned ? 1 - i : i];
                    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, sizeof(body),
                                          edge[0], edge[1]);
                    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
                    scene_assert_acknowledged(s, 0, s->device_next - 1);
                }
                assert_memory_equal(association_client_cid(s->association), "new!", 4);
                assert_int_equal(s->association->v13.message_seq_expected, seq + 1);
                scene_end(s);
            }
        }
    }
}

static void one_message_in_fragments_after_the_other(void **test)
{
    static const uint8_t bodies[2][6] = {{0, 3, 2, 'a', 'b', CID_IMMEDIATE},
                                         {0, 3, 2, 'c', 'd', CID_IMMEDIATE}};
    struct scene *s = &scene;
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    for (int i = 0; i < 2; i++) {
        uint16_t seq = s->association->v13.message_seq_expected;
        device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, bodies[i], 6, 0, 3);
        device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, bodies[i], 6, 3, 6);
        assert_int_equal(s->association->client_cid_len, 2);
        assert_memory_equal(association_client_cid(s->association), bodies[i] + 3, 2);
    }
    scene_end(s);
}

static void what_comes_too_early_is_not_acknowledged(void **test)
{
    struct scene *s = &scene;
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    uint16_t seq = s->association->v13.message_seq_expected;
    device_sends_fragment(s, HANDSHAKE_REQUEST_CONNECTION_ID, (uint16_t)(seq + 1),
                          (const uint8_t *)"\1", 1, 0, 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->sent_count, 0);
    assert_int_equal(s->association->v13.message_seq_expected, seq);
    /* ... and what was seen before is acknowledged again, without being done again. */
    device_sends_fragment(s, HANDSHAKE_FINISHED, (uint16_t)(seq - 1), (const uint8_t *)"\1", 1, 0,
                          1);
    assert_int_equal(s->sent_count, 1);
    scene_assert_acknowledged(s, 0, s->device_next - 1);
    scene_end(s);
}

static void a_message_that_is_too_long(void **test)
{
    uint8_t body[ASSOCIATION_MESSAGE_MAX + 1] = {0};
    struct scene *s = &scene;
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, s->association->v13.message_seq_expected,
                          body, sizeof(body), 0, 10);
    scene_assert_alert(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    scene_end(s);
}

static void fragments_that_contradict_each_other(void **test)
{
    static const uint8_t body[16];
    struct scene *s = &scene;
    scene_begin(s, *test, gate_kind("1.3 psk, cid 6"));
    uint16_t seq = s->association->v13.message_seq_expected;
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, 16, 0, 4);
    device_sends_fragment(s, HANDSHAKE_NEW_CONNECTION_ID, seq, body, 15, 4, 8);
    scene_assert_alert(s, ALERT_FATAL, ALERT_ILLEGAL_PARAMETER);
    scene_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_connection_id_is_used),
        cmocka_unit_test(there_are_no_further_connection_ids),
        cmocka_unit_test(the_answer_is_repeated_until_it_is_acknowledged),
        cmocka_unit_test(messages_in_fragments),
        cmocka_unit_test(one_message_in_fragments_after_the_other),
        cmocka_unit_test(what_comes_too_early_is_not_acknowledged),
        cmocka_unit_test(a_message_that_is_too_long),
        cmocka_unit_test(fragments_that_contradict_each_other),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
