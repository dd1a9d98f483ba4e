/* wire/record.c: the window (RFC 6347 section 4.1.2.6), the limits of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/record.h"

static void an_empty_window_has_seen_nothing(void **state)
{
    struct record_window window = {0};
    (void)state;
    assert_false(record_window_has(&window, 0));
    assert_false(record_window_has(&window, UINT64_MAX - 1));
}

static void what_was_taken_is_seen(void **state)
{
    struct record_window window = {0};
    (void)state;
    record_window_take(&window, 5);
    assert_true(record_window_has(&window, 5));
    for (uint64_t number = 0; number < 5; number++)
        assert_false(record_window_has(&window, number));
    record_window_take(&window, 3);
    assert_true(record_window_has(&window, 3));
    assert_true(record_window_has(&window, 5));
    assert_false(record_window_has(&window, 4));
    assert_int_equal(window.next, 6);
}

static void what_is_too_old_counts_as_seen(void **state)
{
    struct record_window window = {0};
    (void)state;
    record_window_take(&window, 100);
    assert_false(record_window_has(&window, 100 - 63));
    assert_true(record_window_has(&window, 100 - 64));
    record_window_take(&window, 10); /* changes nothing */
    record_window_take(&window, 100 - 64);
    assert_int_equal(window.next, 101);
    assert_int_equal(window.seen, 1);
}

/* Against a plain list of what was seen, with steps of all sizes. */
static void it_agrees_with_a_list(void **state)
{
    static uint8_t seen[40000];
    struct record_window window = {0};
    uint64_t newest_next = 0;
    uint32_t random = 12345;
    (void)state;
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < 100000; i++) {
        random = random * 1664525 + 1013904223;
        uint32_t step = (random >> 8) % 100;
        uint64_t ahead = step > 97 ? (random >> 16) % 80 : step > 50 ? 1 : 0;
        uint64_t base = newest_next + ahead;
        uint64_t back = (random >> 20) % 80;
        uint64_t number = step < 50 && base > back ? base - back : base;
        if (number >= sizeof(seen))
            break;
        bool is_old = number + 64 < newest_next;
        assert_int_equal(record_window_has(&window, number), is_old || seen[number]);
        if (is_old)
            continue;
        record_window_take(&window, number);
        seen[number] = 1;
        if (number + 1 > newest_next)
            newest_next = number + 1;
        assert_int_equal(window.next, newest_next);
    }
}

static void every_aead_has_limits(void **state)
{
    (void)state;
    /* RFC 9147 section 4.5.3, RFC 8446 section 5.5 (2^24.5, 24 million), RFC 9325 section 4.4;
     * CCM-8 is our own. */
    const uint64_t to_20 = 1 << 20, to_23 = 1 << 23, to_28 = 1 << 28, to_36 = to_28 << 8;
    const uint64_t to_23_5 = 11863283, to_24_5 = 23726566, last_number = ((uint64_t)1 << 48) - 1;
    const struct record_limits wanted_12[AEAD_COUNT] = {
        [AEAD_AES_128_GCM] = {to_24_5, to_28},          [AEAD_AES_256_GCM] = {to_24_5, to_28},
        [AEAD_AES_128_CCM] = {to_23, to_23_5},          [AEAD_AES_256_CCM] = {to_23, to_23_5},
        [AEAD_AES_128_CCM_8] = {to_23, to_20},          [AEAD_AES_256_CCM_8] = {to_23, to_20},
        [AEAD_CHACHA20_POLY1305] = {last_number, to_36}};
    for (enum aead aead = AEAD_NONE + 1; aead < AEAD_COUNT; aead++) {
        bool is_gcm = aead == AEAD_AES_128_GCM || aead == AEAD_AES_256_GCM;
        assert_int_equal(record_limits(aead, false)->sealed, wanted_12[aead].sealed);
        assert_int_equal(record_limits(aead, false)->forged, wanted_12[aead].forged);
        assert_int_equal(record_limits(aead, true)->sealed, wanted_12[aead].sealed);
        assert_int_equal(record_limits(aead, true)->forged,
                         is_gcm ? to_36 : wanted_12[aead].forged);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_window_has_seen_nothing),
        cmocka_unit_test(what_was_taken_is_seen),
        cmocka_unit_test(what_is_too_old_counts_as_seen),
        cmocka_unit_test(it_agrees_with_a_list),
        cmocka_unit_test(every_aead_has_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
