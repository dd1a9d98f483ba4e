/* association.c and its parts: sessions of real clients go on after the library's object is gone;
 * what an authenticated device may send, and what becomes of it, row by row; what is lost is
 * repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fakes/fake_system.h"
#include "session/association_scene.h"

static struct scene scene;

static void data_both_ways(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test)
    for (int i = 0; i < 3; i++)
        scene_assert_both_ways(s, "there and back");
    EACH_KIND(scene_kinds_13, s, *test)
    for (int i = 0; i < 3; i++)
        scene_assert_both_ways(s, "there and back");
}

static void the_gate_closes(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test)
    {
        association_send_alert(s->association, &s->call, ALERT_CLOSE_NOTIFY);
        scene_hand_to_device(s);
        assert_int_equal(s->pair->client->state, CLIENT_CLOSED);
    }
    EACH_KIND(scene_kinds_13, s, *test)
    {
        association_send_alert(s->association, &s->call, ALERT_CLOSE_NOTIFY);
        scene_hand_to_device(s);
        assert_int_equal(s->pair->client->state, CLIENT_CLOSED);
    }
}

/* N22: what the close_notify has overtaken is delivered; what comes behind it is not. */
static void check_closing(struct scene *s)
{
    struct datagrams *queue = &s->pair->to_gate;
    assert_true(memory_client_send(s->pair->client, "first", 5));
    scene_hand_to_gate(s);
    assert_true(memory_client_send(s->pair->client, "late", 4));
    struct client_message late = queue->at[--queue->count];
    memory_client_close(s->pair->client);
    scene_hand_to_gate(s);
    assert_int_equal(s->opened.event, ASSOCIATION_CLOSED);
    assert_true(association_has_gap(s->association));
    scene_receive(s, late.data, late.len);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    assert_int_equal(s->opened.data_len, 4);
    assert_false(association_has_gap(s->association));
    scene_receive(s, late.data, late.len);
    assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
    free(late.data);
}

static void what_a_closure_overtook(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test) check_closing(s);
    EACH_KIND(scene_kinds_13, s, *test) check_closing(s);
}

/* R15, T5: past epoch 6, which has the bits of the handshake's epoch. */
static void the_device_changes_its_keys(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_13, s, *test)
    for (int i = 0; i < 6; i++) {
        memory_client_update_keys(s->pair->client, s->call.now_ms);
        scene_hand_over(s);
        scene_assert_both_ways(s, "under new keys");
        assert_int_equal(s->association->v13.read_epoch, 4 + i);
        assert_int_equal(association_find_rare(s->association, RARE_HANDSHAKE_EPOCH) == NULL,
                         s->association->v13.read_epoch >= 6);
    }
}

/* R16. */
static void the_gate_changes_its_keys(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_13, s, *test)
    for (int i = 0; i < 6; i++) {
        association_update_keys(s->association, &s->call);
        assert_int_equal(s->association->v13.write_epoch, 3 + i);
        scene_hand_over(s);
        assert_int_equal(s->association->v13.write_epoch, 4 + i);
        scene_assert_both_ways(s, "under new keys");
    }
}

static void both_change_their_keys_at_once(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_13, s, *test)
    for (int i = 0; i < 4; i++) {
        association_update_keys(s->association, &s->call);
        memory_client_update_keys(s->pair->client, s->call.now_ms);
        scene_hand_over(s);
        scene_assert_both_ways(s, "under new keys");
        /* Each asks the other for new keys as well (RFC 8446 section 4.6.3). */
        assert_true(s->association->v13.write_epoch >= (uint64_t)4 + i);
        assert_true(s->association->v13.read_epoch >= (uint64_t)4 + i);
    }
}

/* R16: what is lost is repeated under the old keys, with the same message_seq, until it is heard.
 */
static void a_lost_change_of_keys_is_repeated(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_13, s, *test)
    {
        scene_hand_over(s);
        association_update_keys(s->association, &s->call);
        assert_int_equal(s->sent_count, 1);
        s->sent_count = 0; /* lost */
        for (int i = 0; i < 3; i++) {
            s->call.now_ms = association_due_ms(s->association);
            association_on_time(s->association, &s->call);
            assert_int_equal(s->sent_count, 1);
            if (i < 2)
                s->sent_count = 0;
        }
        scene_assert_both_ways(s, "and the session goes on");
        assert_int_equal(s->association->v13.write_epoch, 4);
    }
}

/* T5: the device has not heard that we have its Finished. */
static void a_finished_that_is_repeated_is_acknowledged(void **test)
{
    struct dtls_pair *pair = *test;
    struct scene *s = &scene;
    uint8_t ticket[2048];
    for (size_t k = 0; k < COUNT(scene_kinds_13); k++) {
        dtls_pair_meet_just(pair, gate_kind(scene_kinds_13[k]));
        dtls_pair_empty(&pair->to_client); /* ACK and ticket are lost */
        scene_take_over(s, pair);
        for (int i = 0; i < 5 && pair->to_gate.count == 0; i++) { /* it repeats its Finished */
            assert_int_not_equal(pair->client->due_ms, UINT64_MAX);
            s->call.now_ms = pair->client->due_ms;
            fake_system_set_ms(s->call.now_ms);
            memory_client_on_time(pair->client, s->call.now_ms);
        }
        assert_int_not_equal(pair->to_gate.count, 0);
        scene_hand_to_gate(s);
        assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
        assert_int_equal(s->opened.number.epoch, 2);
        scene_hand_to_device(s);
        assert_int_equal(pair->client->state, CLIENT_UP);
        /* The ticket comes by itself. */
        assert_int_equal(memory_client_ticket(pair->client, ticket, sizeof(ticket)), 0);
        s->call.now_ms = 1000 + ASSOCIATION_REPEAT_MS;
        association_on_time(s->association, &s->call);
        assert_int_equal(s->sent_count, 1);
        scene_hand_over(s);
        assert_int_not_equal(memory_client_ticket(pair->client, ticket, sizeof(ticket)), 0);
        scene_assert_both_ways(s, "after all");
        /* Acknowledged: it is not repeated; then only the handshake's keys wait for their end. */
        assert_int_equal(association_due_ms(s->association), 1000 + ASSOCIATION_REMAINDER_MS);
        s->call.now_ms = 1000 + ASSOCIATION_REMAINDER_MS;
        association_on_time(s->association, &s->call);
        assert_int_equal(association_due_ms(s->association), UINT64_MAX);
        assert_int_equal(s->sent_count, 0);
        scene_end(s);
        fake_system_set_ms(0);
    }
}

/* T6. */
static void a_ticket_is_given_up(void **test)
{
    struct scene *s = &scene;
    dtls_pair_meet_just(*test, gate_kind("1.3 psk"));
    scene_take_over(s, *test);
    while (association_due_ms(s->association) < 1000 + ASSOCIATION_REMAINDER_MS) {
        s->call.now_ms = association_due_ms(s->association);
        association_on_time(s->association, &s->call);
        assert_in_range(s->sent_count, 0, ASSOCIATION_REPEATS_MAX);
    }
    assert_int_equal(s->sent_count, ASSOCIATION_REPEATS_MAX);
    scene_end(s);
}

/* A record that an authenticated device can send, and what has to come of it. */
struct content_row {
    const char *section;
    uint8_t type;
    const char *data;
    size_t len;
    enum association_event event;
    int alert; /* that is sent; -1 = none */
};

#define BYTES(text) text, sizeof(text) - 1

static const struct content_row rows_12[] = {
    {"RFC 7252 4.6", 23, BYTES("data"), ASSOCIATION_DATA, -1},
    {"RFC 5246 6.2.1: empty data", 23, BYTES(""), ASSOCIATION_DATA, -1},
    {"RFC 5246 7.2.1: close_notify", 21, BYTES("\1\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 5246 7.2.1: a close_notify that is fatal", 21, BYTES("\2\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 5246 7.2: a warning", 21, BYTES("\1\x5a"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 7.2: an unknown warning", 21, BYTES("\1\xfe"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 7.2.2: a fatal alert", 21, BYTES("\2\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 5246 7.2: a level that does not exist", 21, BYTES("\3\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 5246 7.2.2: half an alert", 21, BYTES("\1"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 5246 7.2.2: two alerts", 21, BYTES("\1\0\1\0"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 5246 6.2.1: an empty alert", 21, BYTES(""), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5746 4.4, RFC 5246 7.2.2: a renegotiation", 22, BYTES("\1\0\0\0\0\0\0\0\0\0\0\0"),
     ASSOCIATION_REFUSED, ALERT_NO_RENEGOTIATION},
    {"RFC 6347 4.2.4: the last flight again", 22, BYTES("\x14\0\0\x0c\0\3"), ASSOCIATION_REPEATED,
     -1},
    {"RFC 6347 4.2.4: another message of it", 22, BYTES("\x10\0\0\0\0\2"), ASSOCIATION_CONTROL, -1},
    {"RFC 5246 6.2.1: an empty handshake record", 22, BYTES(""), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5246 7.1: a change of cipher", 20, BYTES("\1"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 6520 3: a heartbeat that was not agreed on", 24, BYTES("\1\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9147 4.1: an ACK in 1.2", 26, BYTES("\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9853 4: return routability that was not agreed on", 27, BYTES("\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 5246 6: an unknown type", 99, BYTES("?"), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
};

#define NUMBER(epoch, number) "\0\0\0\0\0\0\0" epoch "\0\0\0\0\0\0\0" number
/* message_seq of the next message is put in by the test: SEQ in its place. */
#define MESSAGE(type, len, fragment_len) type "\0\0" len "SQ\0\0\0\0\0" fragment_len

static const struct content_row rows_13[] = {
    {"RFC 7252 4.6", 23, BYTES("data"), ASSOCIATION_DATA, -1},
    {"RFC 8446 5.1: empty data", 23, BYTES(""), ASSOCIATION_DATA, -1},
    {"RFC 8446 6.1: close_notify", 21, BYTES("\1\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 8446 6: a close_notify of another level", 21, BYTES("\2\0"), ASSOCIATION_CLOSED, -1},
    {"RFC 8446 6.1: user_canceled", 21, BYTES("\1\x5a"), ASSOCIATION_CONTROL, -1},
    {"RFC 8446 6: all others are fatal", 21, BYTES("\1\x14"), ASSOCIATION_ALERTED, -1},
    {"RFC 8446 6.2: a fatal alert", 21, BYTES("\2\x28"), ASSOCIATION_ALERTED, -1},
    {"RFC 8446 6.2: half an alert", 21, BYTES("\2"), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 8446 5.1: an empty alert", 21, BYTES(""), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 5.1: an empty handshake record", 22, BYTES(""), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 6.2: half a handshake header", 22, BYTES("\x18\0\0"), ASSOCIATION_FAILED,
     ALERT_DECODE_ERROR},
    {"RFC 8446 4.6.3: a value that does not exist", 22, BYTES(MESSAGE("\x18", "\1", "\1") "\2"),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 8446 4.6.3: a KeyUpdate without a value", 22, BYTES(MESSAGE("\x18", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 8446 5.1: something behind a KeyUpdate", 22,
     BYTES(MESSAGE("\x18", "\1", "\1") "\0" MESSAGE("\x18", "\1", "\1") "\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6: a ClientHello", 22, BYTES(MESSAGE("\1", "\0", "\0")), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6.1: a ticket for the server", 22, BYTES(MESSAGE("\4", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 4.6.2: a certificate that was not asked for", 22, BYTES(MESSAGE("\x0b", "\0", "\0")),
     ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9147 7: an empty ACK", 26, BYTES("\0\0"), ASSOCIATION_CONTROL, -1},
    {"RFC 9147 7: an ACK of what was never sent", 26, BYTES("\0\x10" NUMBER("\3", "\x63")),
     ASSOCIATION_CONTROL, -1},
    {"RFC 9147bis 7: an ACK of a later epoch", 26, BYTES("\0\x10" NUMBER("\4", "\0")),
     ASSOCIATION_FAILED, ALERT_ILLEGAL_PARAMETER},
    {"RFC 9147 7: an ACK without a length", 26, BYTES(""), ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 9147 7: an ACK that is cut", 26,
     BYTES("\0\x10"
           "\0\0\0"),
     ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 9147 7: half a number", 26,
     BYTES("\0\x08"
           "\0\0\0\0\0\0\0\0"),
     ASSOCIATION_FAILED, ALERT_DECODE_ERROR},
    {"RFC 8446 5: a change of cipher behind the handshake", 20, BYTES("\1"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 6520 3: a heartbeat that was not agreed on", 24, BYTES("\1\0\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 9853 4: return routability that was not agreed on", 27, BYTES("\0"), ASSOCIATION_FAILED,
     ALERT_UNEXPECTED_MESSAGE},
    {"RFC 8446 5: an unknown type", 99, BYTES("?"), ASSOCIATION_FAILED, ALERT_UNEXPECTED_MESSAGE},
};

static void put_seqs(const struct scene *s, uint8_t *data, size_t len)
{
    uint16_t seq = s->association->v13.message_seq_expected;
    for (size_t i = 0; i + 1 < len; i++) {
        if (data[i] == 'S' && data[i + 1] == 'Q')
            bytes_put16(data + i, seq++);
    }
}

static void check_row(struct scene *s, const struct content_row *row)
{
    uint8_t data[128] = {0};
    memcpy(data, row->data, row->len);
    if (s->taken.version == VERSION_1_3)
        put_seqs(s, data, row->len);
    scene_device_sends(s, row->type, data, row->len);
    if (s->opened.event != row->event)
        fail_msg("%s: event %d", row->section, s->opened.event);
    if (row->alert < 0) {
        assert_int_equal(s->sent_count, 0);
        return;
    }
    scene_assert_alert(s, row->event == ASSOCIATION_REFUSED ? ALERT_WARNING : ALERT_FATAL,
                       (enum alert)row->alert);
    if (row->event == ASSOCIATION_FAILED)
        assert_int_equal(s->opened.alert, row->alert);
}

static void contents_of_records(void **test)
{
    struct scene *s = &scene;
    for (size_t row = 0; row < COUNT(rows_12); row++)
        EACH_KIND(scene_kinds_12, s, *test) check_row(s, &rows_12[row]);
    for (size_t row = 0; row < COUNT(rows_13); row++)
        EACH_KIND(scene_kinds_13, s, *test) check_row(s, &rows_13[row]);
}

/* RFC 8446 section 6.1, RFC 5246 section 7.2.1. */
static void what_comes_behind_a_closure(void **test)
{
    static const struct {
        uint8_t type, byte;
    } rows[] = {{RECORD_APPLICATION_DATA, 'x'},
                {RECORD_ALERT, ALERT_FATAL},
                {RECORD_HANDSHAKE, HANDSHAKE_CLIENT_HELLO},
                {RECORD_ACK, 0},
                {99, '?'}};
    struct scene *s = &scene;
    (void)test;
    for (enum dtls_version version = VERSION_1_2; version <= VERSION_1_3; version++) {
        scene_make(s, version, AEAD_AES_128_GCM, 8);
        scene_device_sends(s, RECORD_ALERT, "\1\0", 2);
        assert_int_equal(s->opened.event, ASSOCIATION_CLOSED);
        for (size_t i = 0; i < COUNT(rows); i++) {
            const uint8_t data[] = {rows[i].byte, 0};
            scene_device_sends(s, rows[i].type, data, sizeof(data));
            assert_int_equal(s->opened.verdict, RECORD_OPENED);
            assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
            assert_int_equal(s->sent_count, 0);
        }
        scene_end(s);
    }
}

static void renegotiations_are_refused_once_a_second(void **test)
{
    struct scene *s = &scene;
    scene_begin(s, *test, gate_kind("1.2 psk ccm-8"));
    unsigned alerts = 0;
    for (int i = 0; i < 30; i++) {
        scene_device_sends(s, RECORD_HANDSHAKE, "\1\0\0\0", 4);
        assert_int_equal(s->opened.event, ASSOCIATION_REFUSED);
        alerts += s->sent_count;
        s->call.now_ms += 100;
    }
    assert_int_equal(alerts, 3);
    scene_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_both_ways),
        cmocka_unit_test(the_gate_closes),
        cmocka_unit_test(what_a_closure_overtook),
        cmocka_unit_test(the_device_changes_its_keys),
        cmocka_unit_test(the_gate_changes_its_keys),
        cmocka_unit_test(both_change_their_keys_at_once),
        cmocka_unit_test(a_lost_change_of_keys_is_repeated),
        cmocka_unit_test(a_finished_that_is_repeated_is_acknowledged),
        cmocka_unit_test(a_ticket_is_given_up),
        cmocka_unit_test(contents_of_records),
        cmocka_unit_test(what_comes_behind_a_closure),
        cmocka_unit_test(renegotiations_are_refused_once_a_second),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
