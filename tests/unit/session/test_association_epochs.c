/* association_epochs.c: older keys, and those of the handshake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session/association_scene.h"

static struct scene scene;

/* Data under the keys of epoch 3. */
static void expect_old(struct scene *s, const uint8_t *keys, uint64_t number,
                       enum record_verdict verdict)
{
    scene_device_sends_in(s, 3, keys, number, RECORD_APPLICATION_DATA, "old", 3);
    assert_int_equal(s->opened.verdict, verdict);
}

/* R15. */
static void old_keys_are_kept_as_long_as_they_are_of_use(void **test)
{
    struct scene *s = &scene;
    uint8_t old[RECORD13_KEYS_MAX];
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_CHACHA20_POLY1305, 8);
    memcpy(old, s->device_keys, sizeof(old));
    scene_device_sends(s, RECORD_APPLICATION_DATA, "old", 3);
    scene_device_changes_keys(s);
    s->call.now_ms += 600000; /* the device has not heard our ACK, and goes on with its old keys */
    association_on_time(s->association, &s->call);
    expect_old(s, old, 10, RECORD_OPENED);
    expect_old(s, old, 10, RECORD_REPLAYED);
    expect_old(s, old, 0, RECORD_REPLAYED); /* read before the change */
    scene_device_sends(s, RECORD_APPLICATION_DATA, "new", 3);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    s->call.now_ms += ASSOCIATION_OLD_KEYS_MS - 1;
    association_on_time(s->association, &s->call);
    expect_old(s, old, 11, RECORD_OPENED);
    assert_int_equal(association_due_ms(s->association), s->call.now_ms + 1);
    s->call.now_ms++;
    association_on_time(s->association, &s->call);
    expect_old(s, old, 12, RECORD_WRONG_EPOCH);
    assert_int_equal(association_due_ms(s->association), UINT64_MAX);
    scene_end(s);
}

/* T5. */
static void the_handshakes_epoch_is_only_acknowledged(void **test)
{
    struct scene *s = &scene;
    const uint8_t *keys = s->taken.v13.handshake_keys;
    (void)test;
    scene_fill(s, VERSION_1_3, AEAD_AES_128_GCM, 0);
    s->taken.v13.handshake_window = (struct record_window){.next = 5, .seen = UINT64_MAX};
    scene_establish(s);
    scene_device_sends_in(s, 2, keys, 4, RECORD_HANDSHAKE, "\x14", 1);
    assert_int_equal(s->opened.verdict, RECORD_REPLAYED);
    scene_device_sends_in(s, 2, keys, 5, RECORD_HANDSHAKE, "\x14", 1);
    assert_int_equal(s->opened.event, ASSOCIATION_CONTROL);
    assert_int_equal(s->sent_count, 1);
    scene_assert_acknowledged(s, 0, 5);
    scene_device_sends_in(s, 2, keys, 5, RECORD_HANDSHAKE, "\x14", 1);
    assert_int_equal(s->opened.verdict, RECORD_REPLAYED);
    static const uint8_t others[] = {RECORD_APPLICATION_DATA, RECORD_ACK, RECORD_CHANGE_CIPHER_SPEC,
                                     99};
    for (uint64_t i = 0; i < sizeof(others); i++) {
        scene_device_sends_in(s, 2, keys, 6 + i, others[i], "\1\0", 2);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        assert_int_equal(s->sent_count, 0);
    }
    /* But a device that gives up so late is gone. */
    scene_device_sends_in(s, 2, keys, 15, RECORD_ALERT, "\2\50", 2);
    assert_int_equal(s->opened.event, ASSOCIATION_ALERTED);
    s->call.now_ms += ASSOCIATION_REMAINDER_MS;
    association_on_time(s->association, &s->call);
    scene_device_sends_in(s, 2, keys, 20, RECORD_HANDSHAKE, "\x14", 1);
    assert_int_equal(s->opened.verdict, RECORD_WRONG_EPOCH);
    scene_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_keys_are_kept_as_long_as_they_are_of_use),
        cmocka_unit_test(the_handshakes_epoch_is_only_acknowledged),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
