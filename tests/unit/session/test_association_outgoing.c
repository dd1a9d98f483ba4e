/* association_outgoing.c: what is sent until the device acknowledges it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "session/association_scene.h"

static struct scene scene;

static void begin(struct scene *s)
{
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
}

/* The gate has sent this handshake message as its index-th record. */
static void assert_message(struct scene *s, unsigned index, uint8_t type, uint8_t body)
{
    uint8_t room[2048];
    struct record_content content = scene_gate_sent(s, index, room);
    assert_int_equal(content.type, RECORD_HANDSHAKE);
    assert_int_equal(content.data[0], type);
    assert_int_equal(content.data[HANDSHAKE_HEADER_BYTES], body);
}

static void assert_nothing_to_repeat(const struct scene *s)
{
    assert_int_equal(association_due_ms(s->association), 1000 + ASSOCIATION_REMAINDER_MS);
}

/* ---- tickets (T6) --------------------------------------------------------------------------- */

static const uint8_t ticket[] = "\4 first part\4 second part";
enum { FIRST_LEN = 12, TICKET_LEN = sizeof(ticket) - 1 };

/* In two fragments, which the library has sent in records 0 and 1. */
static void begin_with_ticket(struct scene *s)
{
    scene_fill(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    s->taken.write_next = 2;
    s->taken.v13.ticket = (struct taken_ticket){
        .count = 2,
        .fragments =
            {{.at = 0, .len = FIRST_LEN, .number_count = 1, .numbers = {0}},
             {.at = FIRST_LEN, .len = TICKET_LEN - FIRST_LEN, .number_count = 1, .numbers = {1}}},
        .bytes_len = TICKET_LEN,
    };
    memcpy(s->taken.v13.ticket.bytes, ticket, TICKET_LEN);
    scene_establish(s);
}

static void only_what_is_not_acknowledged_is_repeated(void **test)
{
    struct scene *s = &scene;
    uint8_t room[2048];
    (void)test;
    begin_with_ticket(s);
    scene_device_acknowledges(s, 3, 0);
    s->call.now_ms += ASSOCIATION_REPEAT_MS;
    association_on_time(s->association, &s->call);
    assert_int_equal(s->sent_count, 1);
    struct record_content content = scene_gate_sent(s, 0, room);
    assert_int_equal(content.data_len, TICKET_LEN - FIRST_LEN);
    assert_memory_equal(content.data, ticket + FIRST_LEN, TICKET_LEN - FIRST_LEN);
    scene_device_acknowledges(s, 3, 1); /* the first time that it was sent */
    assert_nothing_to_repeat(s);
    scene_end(s);
}

static void numbers_of_another_epoch_acknowledge_nothing(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin_with_ticket(s);
    scene_device_acknowledges(s, 2, 0);
    scene_device_acknowledges(s, 2, 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(association_due_ms(s->association), 1000 + ASSOCIATION_REPEAT_MS);
    scene_end(s);
}

static void a_ticket_gives_way_to_new_keys(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin_with_ticket(s);
    association_update_keys(s->association, &s->call);
    assert_int_equal(s->sent_count, 1);
    assert_message(s, 0, HANDSHAKE_KEY_UPDATE, 0);
    scene_device_acknowledges(s, 3, 2);
    assert_int_equal(s->association->v13.write_epoch, 4);
    assert_nothing_to_repeat(s);
    scene_end(s);
}

/* ---- one message at a time (R16) ------------------------------------------------------------ */

static void new_keys_wait_for_what_is_not_acknowledged(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin(s);
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\1", 1);
    assert_int_equal(s->sent_count, 2); /* ACK, answer */
    association_update_keys(s->association, &s->call);
    assert_int_equal(s->sent_count, 2);
    scene_device_acknowledges(s, 3, 1);
    assert_int_equal(s->sent_count, 1);
    assert_message(s, 0, HANDSHAKE_KEY_UPDATE, 0);
    assert_int_equal(s->association->v13.write_epoch, 3);
    scene_device_acknowledges(s, 3, 2);
    assert_int_equal(s->association->v13.write_epoch, 4);
    scene_end(s);
}

static void while_keys_change_nothing_else_is_said(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin(s);
    association_update_keys(s->association, &s->call);
    association_update_keys(s->association, &s->call);
    assert_int_equal(s->sent_count, 1);
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\1", 1);
    scene_assert_acknowledged(s, 0, 0);
    assert_int_equal(s->sent_count, 1);
    scene_end(s);
}

/* RFC 8446 section 4.6.3. */
static void a_request_for_new_keys_is_answered(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin(s);
    scene_device_sends_message(s, HANDSHAKE_KEY_UPDATE, "\1", 1);
    assert_int_equal(s->sent_count, 2);
    scene_assert_acknowledged(s, 0, 0);
    assert_message(s, 1, HANDSHAKE_KEY_UPDATE, 0);
    scene_end(s);
}

/* What the protocol needs is never given up: it waits until the device shows itself. */
static void a_device_that_was_away_is_told_again(void **test)
{
    struct scene *s = &scene;
    (void)test;
    begin(s);
    association_update_keys(s->association, &s->call);
    for (int i = 0; i <= ASSOCIATION_REPEATS_MAX; i++) {
        s->call.now_ms = association_due_ms(s->association);
        association_on_time(s->association, &s->call);
    }
    assert_int_equal(s->sent_count, 1 + ASSOCIATION_REPEATS_MAX);
    assert_nothing_to_repeat(s);
    scene_device_sends(s, RECORD_APPLICATION_DATA, "back", 4);
    assert_int_equal(association_due_ms(s->association), s->call.now_ms + ASSOCIATION_REPEAT_MS);
    s->call.now_ms += ASSOCIATION_REPEAT_MS;
    association_on_time(s->association, &s->call);
    assert_message(s, 0, HANDSHAKE_KEY_UPDATE, 0);
    scene_device_acknowledges(s, 3, 0); /* any of the times that it was sent */
    assert_int_equal(s->association->v13.write_epoch, 4);
    scene_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_not_acknowledged_is_repeated),
        cmocka_unit_test(numbers_of_another_epoch_acknowledge_nothing),
        cmocka_unit_test(a_ticket_gives_way_to_new_keys),
        cmocka_unit_test(new_keys_wait_for_what_is_not_acknowledged),
        cmocka_unit_test(while_keys_change_nothing_else_is_said),
        cmocka_unit_test(a_request_for_new_keys_is_answered),
        cmocka_unit_test(a_device_that_was_away_is_told_again),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
