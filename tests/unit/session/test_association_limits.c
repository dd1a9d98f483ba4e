/* association.c and its parts: how much keys bear, how much a record carries, how much an
 * association takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "session/association_scene.h"

static struct scene scene;

/* What a key bears. RFC 9147 section 4.5.3, RFC 8446 section 5.5, RFC 9325 section 4.4; of CCM-8
 * ours (R17). */
static const struct limits_row {
    enum dtls_version version;
    enum aead aead;
    uint64_t sealed, forged;
} limits_rows[] = {
    {VERSION_1_2, AEAD_AES_128_GCM, 23726566, 1u << 28},
    {VERSION_1_2, AEAD_AES_256_GCM, 23726566, 1u << 28},
    {VERSION_1_2, AEAD_AES_128_CCM, 1u << 23, 11863283},
    {VERSION_1_2, AEAD_AES_256_CCM, 1u << 23, 11863283},
    {VERSION_1_2, AEAD_AES_128_CCM_8, 1u << 23, 1u << 20},
    {VERSION_1_2, AEAD_AES_256_CCM_8, 1u << 23, 1u << 20},
    {VERSION_1_2, AEAD_CHACHA20_POLY1305, ((uint64_t)1 << 48) - 1, (uint64_t)1 << 36},
    {VERSION_1_3, AEAD_AES_128_GCM, 23726566, (uint64_t)1 << 36},
    {VERSION_1_3, AEAD_AES_256_GCM, 23726566, (uint64_t)1 << 36},
    {VERSION_1_3, AEAD_AES_128_CCM, 1u << 23, 11863283},
    {VERSION_1_3, AEAD_AES_128_CCM_8, 1u << 23, 1u << 20},
    {VERSION_1_3, AEAD_CHACHA20_POLY1305, ((uint64_t)1 << 48) - 1, (uint64_t)1 << 36},
};
#define EACH_SUITE(s, row)                                                                     \
    for (const struct limits_row *row = limits_rows;                                           \
         row < limits_rows + COUNT(limits_rows) &&                                             \
         (scene_make(s, row->version, row->aead, (row - limits_rows) % 2 == 0 ? 0 : 8), true); \
         scene_end(s), row++)

static enum association_sealed seal_one(struct scene *s)
{
    s->sent_count = 0;
    return association_seal(s->association, &s->call, (const uint8_t *)"x", 1);
}

/* N19: to the record. */
static void each_suite_seals_as_much_as_it_may(void **test)
{
    struct scene *s = &scene;
    (void)test;
    EACH_SUITE(s, row)
    {
        s->association->write_next = row->sealed / 2 - 2;
        assert_int_equal(seal_one(s), ASSOCIATION_SEALED);
        assert_int_equal(s->sent_count, 1);
        assert_int_equal(seal_one(s), ASSOCIATION_SEALED);
        /* At half: a KeyUpdate, where there is such a thing. */
        assert_int_equal(s->sent_count, row->version == VERSION_1_3 ? 2 : 1);
        s->association->write_next = row->sealed - 1;
        assert_int_equal(seal_one(s), ASSOCIATION_SEALED);
        assert_int_equal(seal_one(s), ASSOCIATION_NO_KEYS);
        assert_int_equal(s->sent_count, 0);
    }
}

static void each_suite_bears_as_many_forgeries_as_it_may(void **test)
{
    struct scene *s = &scene;
    (void)test;
    EACH_SUITE(s, row)
    {
        s->association->forged = row->forged / 2 - 2;
        scene_forge(s);
        assert_int_equal(s->sent_count, 0);
        scene_forge(s); /* at half: an update_requested */
        assert_int_equal(s->sent_count, row->version == VERSION_1_3 ? 1 : 0);
        s->association->forged = row->forged - 2;
        scene_forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        scene_forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
    }
}

/* R17: forgeries count against the epoch that they say they are of; older keys go, and no more. */
static void forgeries_of_older_epochs(void **test)
{
    struct scene *s = &scene;
    (void)test;
    EACH_SUITE(s, row)
    {
        if (row->version != VERSION_1_3)
            continue;
        scene_device_changes_keys(s);
        s->limits.forged = 10;
        s->call.limits = &s->limits;
        for (uint64_t epoch = 2; epoch <= 3; epoch++) {
            for (int i = 0; i < 10; i++) {
                scene_forge_in(s, epoch);
                assert_int_equal(s->opened.verdict, RECORD_FORGED);
            }
            scene_forge_in(s, epoch);
            assert_int_equal(s->opened.verdict, RECORD_WRONG_EPOCH);
            assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        }
        scene_device_sends(s, RECORD_APPLICATION_DATA, "on", 2);
        assert_int_equal(s->opened.event, ASSOCIATION_DATA);
        assert_int_equal(s->association->forged, 0);
    }
}

static void check_forgery_limit(struct scene *s)
{
    s->limits.forged = 20;
    s->call.limits = &s->limits;
    s->call.is_contested = true; /* T9 */
    for (int i = 0; i < 100; i++) {
        scene_forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        assert_int_equal(s->opened.verdict, RECORD_FORGED);
    }
    s->call.is_contested = false;
    for (int i = 1; i < 20; i++) {
        s->sent_count = 0;
        scene_forge(s);
        assert_int_equal(s->opened.event, ASSOCIATION_DISCARDED);
        /* At half of it the device is asked for new keys, once. */
        assert_int_equal(s->sent_count, s->taken.version == VERSION_1_3 && i == 10 ? 1 : 0);
    }
    scene_forge(s);
    assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
}

static void forgeries_wear_keys_out(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test) check_forgery_limit(s);
    EACH_KIND(scene_kinds_13, s, *test) check_forgery_limit(s);
}

/* A device that answers the request goes on: its new keys begin at zero. */
static void new_keys_are_not_worn(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_13, s, *test)
    {
        s->limits.forged = 20;
        s->call.limits = &s->limits;
        for (int round = 0; round < 5; round++) {
            for (int i = 0; i < 10; i++)
                scene_forge(s);
            scene_hand_over(
                s); /* our KeyUpdate with update_requested; the device answers with its own */
            for (int i = 0; i < 5; i++)
                scene_forge(s);
            scene_assert_both_ways(s, "still there");
        }
        assert_true(s->association->v13.read_epoch >= 8);
    }
}

static void sealing_wears_keys_out(void **test)
{
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test)
    {
        s->limits.sealed = s->association->write_next + 10;
        s->call.limits = &s->limits;
        for (int i = 0; i < 10; i++)
            assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)"x", 1),
                             ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, (const uint8_t *)"x", 1),
                         ASSOCIATION_NO_KEYS);
    }
    EACH_KIND(scene_kinds_13, s, *test)
    {
        scene_hand_over(s);
        s->limits.sealed = 20;
        s->call.limits = &s->limits;
        for (int i = 0; i < 100; i++) /* changes of keys in time, so that they are never worn out */
            scene_assert_both_ways(s, "on and on");
        assert_true(s->association->v13.write_epoch > 8);
        for (int i = 0; i < 40; i++) { /* ... but if the device acknowledges none */
            if (association_seal(s->association, &s->call, (const uint8_t *)"x", 1) ==
                ASSOCIATION_NO_KEYS)
                break;
            assert_true(i < 39);
        }
    }
}

/* R14: neither message_seq nor epoch ever wraps. */
static void the_device_runs_out_of_messages(void **test)
{
    struct scene *s = &scene;
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    s->association->v13.message_seq_expected = UINT16_MAX - 1;
    scene_device_changes_keys(s);
    assert_int_equal(s->association->v13.message_seq_expected, UINT16_MAX);
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\1", 1);
    assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
    assert_int_equal(s->association->v13.message_seq_expected, UINT16_MAX);
    scene_end(s);
}

static void either_side_runs_out_of_epochs(void **test)
{
    struct scene *s = &scene;
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    s->association->v13.read_epoch = UINT16_MAX; /* whose last bits are those of epoch 3 */
    scene_device_sends_message(s, HANDSHAKE_KEY_UPDATE, "", 1);
    assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
    scene_end(s);
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    s->association->v13.write_epoch = UINT16_MAX;
    association_update_keys(s->association, &s->call);
    assert_int_equal(s->sent_count, 1);
    scene_device_acknowledges(s, UINT16_MAX, 0);
    assert_int_equal(s->opened.event, ASSOCIATION_WORN_OUT);
    scene_end(s);
}

static void the_gate_runs_out_of_messages(void **test)
{
    struct scene *s = &scene;
    (void)test;
    scene_make(s, VERSION_1_3, AEAD_AES_128_GCM, 8);
    s->association->v13.message_seq_next = UINT16_MAX;
    association_update_keys(s->association, &s->call);
    scene_device_sends_message(s, HANDSHAKE_REQUEST_CONNECTION_ID, "\1", 1);
    scene_assert_acknowledged(s, 0, 0); /* ... and nothing else */
    assert_int_equal(s->sent_count, 1);
    scene_device_sends(s, RECORD_APPLICATION_DATA, "on", 2);
    assert_int_equal(s->opened.event, ASSOCIATION_DATA);
    scene_end(s);
}

/* ---- sizes ------------------------------------------------------------------------------------
 */

static void sizes(void **test)
{
    static uint8_t data[RECORD_PLAINTEXT_MAX + 1];
    struct scene *s = &scene;
    EACH_KIND(scene_kinds_12, s, *test)
    {
        const struct client_kind *kind = gate_kind(scene_kinds_12[k]);
        size_t max = kind->max_fragment == 1 ? 512
                     : kind->cid_bytes != 0  ? RECORD_PLAINTEXT_MAX - 1
                                             : RECORD_PLAINTEXT_MAX;
        assert_int_equal(association_seal(s->association, &s->call, data, max), ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, data, max + 1),
                         ASSOCIATION_TOO_LARGE);
    }
    EACH_KIND(scene_kinds_13, s, *test)
    {
        assert_int_equal(association_seal(s->association, &s->call, data, RECORD_PLAINTEXT_MAX),
                         ASSOCIATION_SEALED);
        assert_int_equal(association_seal(s->association, &s->call, data, RECORD_PLAINTEXT_MAX + 1),
                         ASSOCIATION_TOO_LARGE);
        assert_int_equal(association_seal(s->association, &s->call, NULL, 0), ASSOCIATION_SEALED);
    }
}

/* N40. */
static void empty_data_both_ways(void **test)
{
    struct scene *s = &scene;
    uint8_t room[2048];
    (void)test;
    EACH_SUITE(s, row)
    for (int i = 0; i < 3; i++) {
        scene_device_sends(s, RECORD_APPLICATION_DATA, "", 0);
        assert_int_equal(s->opened.event, ASSOCIATION_DATA);
        assert_int_equal(s->opened.data_len, 0);
        assert_int_equal(association_seal(s->association, &s->call, NULL, 0), ASSOCIATION_SEALED);
        assert_int_equal(s->sent_count, 1);
        struct record_content content = scene_gate_sent(s, 0, room);
        assert_int_equal(content.type, RECORD_APPLICATION_DATA);
        assert_int_equal(content.data_len, 0);
        assert_int_equal(content.number, i);
    }
}

/* RECORDS.md L: a million sessions are a million of these. The part that a record needs lies in two
 * adjacent cache lines, or three if it does not begin with one. */
static void what_an_association_takes(void **state)
{
    static const struct {
        enum dtls_version version;
        enum aead aead;
        size_t bytes;
    } rows[] = {
        {VERSION_1_2, AEAD_AES_128_CCM_8, 119},     {VERSION_1_2, AEAD_AES_128_GCM, 119},
        {VERSION_1_2, AEAD_AES_256_GCM, 151},       {VERSION_1_2, AEAD_CHACHA20_POLY1305, 167},
        {VERSION_1_3, AEAD_AES_128_GCM, 231},       {VERSION_1_3, AEAD_AES_128_CCM_8, 231},
        {VERSION_1_3, AEAD_CHACHA20_POLY1305, 295}, {VERSION_1_3, AEAD_AES_256_GCM, 327},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct taken taken = {.version = rows[i].version, .aead = rows[i].aead};
        assert_int_equal(association_bytes(&taken), rows[i].bytes);
    }
    size_t read_keys = record13_keys_bytes(AEAD_AES_128_GCM);
    assert_in_range(offsetof(struct association, keys) + read_keys, 0, 2 * 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_suite_seals_as_much_as_it_may),
        cmocka_unit_test(each_suite_bears_as_many_forgeries_as_it_may),
        cmocka_unit_test(forgeries_of_older_epochs),
        cmocka_unit_test(the_device_runs_out_of_messages),
        cmocka_unit_test(either_side_runs_out_of_epochs),
        cmocka_unit_test(the_gate_runs_out_of_messages),
        cmocka_unit_test(empty_data_both_ways),
        cmocka_unit_test(forgeries_wear_keys_out),
        cmocka_unit_test(new_keys_are_not_worn),
        cmocka_unit_test(sealing_wears_keys_out),
        cmocka_unit_test(sizes),
        cmocka_unit_test(what_an_association_takes),
    };
    return cmocka_run_group_tests(tests, scene_set_up, scene_tear_down);
}
