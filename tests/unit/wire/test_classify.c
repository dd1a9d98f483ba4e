/* Bytes of a datagram are told apart, and a datagram is cut before its first malformed record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/classify_fixture.h"

/* --- one record ------------------------------------------------------------------------------ */

static void test_every_content_type(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        if ((type & 0xe0) == 0x20)
            continue; /* the other header form, below */
        for (int epoch = 0; epoch < 3; epoch++) {
            struct maker m = {.len = 0};
            classify_fixture_put_record(&m, type, epoch, 40);
            struct classified c = classify_fixture_run_made(&m);
            bool is_known = type >= CCS && type <= ACK && type != HEARTBEAT;
            bool needs_keys = type == DATA || type == CID;
            bool is_bad_ack = type == ACK && epoch == 0; /* its list is longer than it says */
            /* A handshake goes no further than to one that is unknown. */
            bool is_for_library = is_known && !(epoch == 0 && (needs_keys || is_bad_ack));
            assert_int_equal(classify_record_len(m.bytes, m.len, 0, UINT16_MAX),
                             is_for_library ? m.len : 0);
            if (epoch == 0 && (!is_known || needs_keys || is_bad_ack)) {
                assert_int_equal(c.kind, DATAGRAM_JUNK);
                continue;
            }
            assert_int_equal(c.kind, epoch == 0 ? DATAGRAM_PLAINTEXT : DATAGRAM_PROTECTED);
            assert_int_equal(c.first_type, type);
            assert_int_equal(c.usable_len, m.len);
            assert_int_equal(c.protected_len, epoch == 0 ? 0 : m.len);
        }
    }
}

static void test_every_version(void **state)
{
    (void)state;
    struct maker m;
    for (int version = 0; version < 0x10000; version++) {
        m.len = 0;
        classify_fixture_put_header(&m, HANDSHAKE, version, 0, 20);
        classify_fixture_put_zeros(&m, 20);
        assert_int_equal(classify_fixture_run_made(&m).kind, DATAGRAM_PLAINTEXT);
        m.len = 0;
        classify_fixture_put_header(&m, HANDSHAKE, version, 1, 20);
        classify_fixture_put_zeros(&m, 20);
        assert_int_equal(classify_fixture_run_made(&m).kind,
                         version == 0xfefd ? DATAGRAM_PROTECTED : DATAGRAM_JUNK);
    }
}

/* RFC 7252 section 3, as far as it tells CoAP from other junk. */
static void test_plaintext_coap(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool is_coap;
    } cases[] = {
        {"\x40\x01\x12\x34", 4, true},             /* CON GET */
        {"\x44\x01\x12\x34tokn\xb3.we", 12, true}, /* with a token and an option */
        {"\x40\x02\x12\x34\xffpayload", 12, true}, /* POST */
        {"\x40\x00\x12\x34", 4, true},             /* ping */
        {"\x70\x00\x12\x34", 4, true},             /* reset */
        {"\x60\x45\x12\x34\xff{}", 7, true},       /* 2.05 */
        {"\x60\x84\x12\x34", 4, true},             /* 4.04 */
        {"\x60\xa0\x12\x34", 4, true},             /* 5.00 */
        {"", 0, false},
        {"\x40\x01\x12", 3, false},
        {"\x80\x01\x12\x34", 4, false}, /* version 2 */
        {"\x00\x01\x12\x34", 4, false},
        {"\x49\x01\x12\x34"
         "123456789",
         13, false},                        /* a token of 9 bytes */
        {"\x44\x01\x12\x34tok", 7, false},  /* cut */
        {"\x40\x08\x12\x34", 4, false},     /* no method */
        {"\x40\x21\x12\x34", 4, false},     /* class 1 */
        {"\x40\xe1\x12\x34", 4, false},     /* class 7: signaling of CoAP over TCP */
        {"\x40\x00\x12\x34x", 5, false},    /* an empty message is empty */
        {"\x40\x01\x12\x34\xff", 5, false}, /* no payload behind the marker */
        {"\x40\x01\x12\x34\xf1x", 6, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *bytes = (const uint8_t *)cases[i].bytes;
        if (classify_is_coap(bytes, cases[i].len) != cases[i].is_coap)
            fail_msg("case %zu", i);
        if (cases[i].is_coap)
            assert_int_equal(classify(bytes, cases[i].len, 8).kind, DATAGRAM_JUNK);
    }
}

/* RFC 9147 section 7: a list of record numbers, of 16 bytes each. */
static void test_acks(void **state)
{
    (void)state;
    for (int list = 0; list < 70; list++) {
        for (int body = 1; body < 70; body++) {
            struct maker m = {.len = 0};
            classify_fixture_put_header(&m, ACK, 0xfefd, 0, body);
            if (body == 1)
                classify_fixture_put_zeros(&m, 1);
            else
                classify_fixture_put_number(&m, list, 2);
            classify_fixture_put_zeros(&m, 13 + body - m.len);
            bool is_good = body == 2 + list && list % 16 == 0;
            assert_int_equal(classify_fixture_run_made(&m).kind,
                             is_good ? DATAGRAM_PLAINTEXT : DATAGRAM_JUNK);
            size_t len = m.len;
            classify_fixture_put_record(&m, CCS, 0, 1);
            assert_int_equal(classify_before_plain_ack(m.bytes, m.len, 0), 0);
            if (!is_good)
                continue;
            /* Of two records the first is before it. */
            struct maker behind = {.len = 0};
            classify_fixture_put_record(&behind, CCS, 0, 1);
            size_t before = behind.len;
            classify_fixture_put(&behind, m.bytes, len);
            assert_int_equal(classify_before_plain_ack(behind.bytes, behind.len, 0), before);
            assert_int_equal(classify_before_plain_ack(behind.bytes, before, 0), before);
        }
    }
}

/* Only plaintext is written to, and only its version; up to the first malformed record. */
static void test_versions_are_levelled(void **state)
{
    (void)state;
    struct maker m = {.len = 0}, expected = {.len = 0};
    static const struct {
        int type, version, epoch, levelled;
    } records[] = {{HANDSHAKE, 0xfeff, 0, 0xfefd}, {CCS, 0x1234, 0, 0xfefd},
                   {HANDSHAKE, 0xfefd, 1, 0xfefd}, {ALERT, 0x0000, 0, 0xfefd},
                   {HANDSHAKE, 0xfeff, 1, 0xfeff}, /* malformed */
                   {HANDSHAKE, 0xfeff, 0, 0xfeff}};
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        classify_fixture_put_header(&m, records[i].type, records[i].version, records[i].epoch, 20);
        classify_fixture_put_zeros(&m, 20);
        classify_fixture_put_header(&expected, records[i].type, records[i].levelled,
                                    records[i].epoch, 20);
        classify_fixture_put_zeros(&expected, 20);
    }
    uint8_t *copy = malloc(m.len);
    assert_non_null(copy);
    memcpy(copy, m.bytes, m.len);
    classify_level_versions(copy, m.len, 0);
    assert_memory_equal(copy, expected.bytes, m.len);
    free(copy);
}

static void test_lengths_at_the_limits(void **state)
{
    (void)state;
    static const struct {
        int said, there;
        bool is_good;
    } cases[] = {
        {0, 0, false},         {0, 20, false},        {1, 0, false},         {1, 1, true},
        {20, 19, false},       {20, 20, true},        {16640, 16640, true},  {16641, 16641, false},
        {65535, 65000, false}, {16640, 16639, false}, {65535, 16640, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int epoch = 0; epoch < 2; epoch++) {
            struct maker m = {.len = 0};
            classify_fixture_put_header(&m, ALERT, 0xfefd, epoch, cases[i].said);
            classify_fixture_put_zeros(&m, cases[i].there);
            struct classified c = classify_fixture_run_made(&m);
            assert_int_equal(c.kind != DATAGRAM_JUNK, cases[i].is_good);
            assert_int_equal(c.usable_len, cases[i].is_good ? m.len : 0);
        }
    }
}

static void test_shorter_than_a_header(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, HANDSHAKE, 0, 40);
    for (m.len = 0; m.len < 13; m.len++)
        classify_fixture_assert_junk(&m);
}

static void test_cid_record_reaches_to_the_end(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, CID, 1, 30);
    classify_fixture_put_record(&m, HANDSHAKE, 0, 30);
    struct classified c = classify_fixture_run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PROTECTED);
    assert_int_equal(c.first_type, CID);
    assert_int_equal(c.protected_len, m.len);
    classify_fixture_put_zeros(&m, 13 + 16640 - m.len);
    assert_int_equal(classify_fixture_run_made(&m).usable_len, 13 + 16640);
    classify_fixture_put_zeros(&m, 1);
    classify_fixture_assert_junk(&m);
}

/* --- DTLS 1.3 ciphertext --------------------------------------------------------------------- */

static void test_every_first_byte_of_a_ciphertext(void **state)
{
    (void)state;
    for (int first = 0x20; first < 0x40; first++) {
        struct maker m = {.len = 0};
        bool has_cid = (first & 0x10) != 0, has_length = (first & 0x04) != 0;
        size_t number_len = (first & 0x08) != 0 ? 2 : 1;
        classify_fixture_put_ciphertext(&m, first, "\xff\xff", number_len, 0);
        if (has_length)
            classify_fixture_put_number(&m, 16, 2);
        size_t header_len = m.len;
        classify_fixture_put_zeros(&m, 16);
        struct classified c = classify_fixture_run_made(&m);
        assert_int_equal(c.kind, DATAGRAM_PROTECTED);
        assert_int_equal(c.first_type, first);
        assert_int_equal(c.protected_len, m.len);

        /* One byte less cannot be decrypted (RFC 9147 section 4.2.3). */
        m.len--;
        classify_fixture_assert_junk(&m);
        /* One byte more is the next record if there is a length, else part of this one. */
        m.len = header_len;
        classify_fixture_put_zeros(&m, 17);
        c = classify_fixture_run_made(&m);
        assert_int_equal(c.usable_len, has_length && !has_cid ? m.len - 1 : m.len);
    }
}

static void test_lengths_of_a_ciphertext(void **state)
{
    (void)state;
    static const struct {
        int said, there;
        bool is_good;
    } cases[] = {
        {15, 15, false}, {15, 16, false},      {16, 16, true},
        {17, 16, false}, {16640, 16640, true}, {16641, 16641, false},
        {0, 16, false},  {0, 0, false},        {65535, 65000, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct maker m = {.len = 0};
        classify_fixture_put_number(&m, 0x2f, 1);
        classify_fixture_put_number(&m, 0x1234, 2);
        classify_fixture_put_number(&m, cases[i].said, 2);
        classify_fixture_put_zeros(&m, cases[i].there);
        assert_int_equal(classify_fixture_run_made(&m).usable_len,
                         cases[i].is_good ? (size_t)(5 + cases[i].said) : 0);
    }
    /* Without a length the datagram's end is the record's. */
    for (int there = 16639; there <= 16642; there++) {
        struct maker m = {.len = 0};
        classify_fixture_put_ciphertext(&m, 0x22, "\x01", 1, there);
        assert_int_equal(classify_fixture_run_made(&m).usable_len, there <= 16640 ? m.len : 0);
    }
    /* Only the header, or part of it. */
    struct maker m = {.len = 0};
    classify_fixture_put_number(&m, 0x2f12340010, 5);
    for (; m.len > 0; m.len--)
        classify_fixture_assert_junk(&m);
}

/* --- several records ------------------------------------------------------------------------- */

static void test_several_records(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, HANDSHAKE, 0, 100);
    classify_fixture_put_record(&m, CCS, 0, 1);
    classify_fixture_put_record(&m, HANDSHAKE, 1, 40);
    struct classified c = classify_fixture_run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PLAINTEXT);
    assert_int_equal(c.first_type, HANDSHAKE);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, 0);
}

static void test_protected_then_plaintext(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, DATA, 1, 40);
    classify_fixture_put_number(&m, 0x2f12340010, 5);
    classify_fixture_put_zeros(&m, 16);
    size_t protected_len = m.len;
    classify_fixture_put_record(&m, ALERT, 0, 2);
    classify_fixture_put_record(&m, DATA, 1, 40);
    struct classified c = classify_fixture_run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PROTECTED);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, protected_len);
}

/* Whatever stands before, and however many there are, the first one counts. */
static void test_alerts_in_plaintext(void **state)
{
    (void)state;
    static const int before[][2] = {{HANDSHAKE, 0}, {CCS, 0}, {ACK, 0}, {ALERT, 1}, {DATA, 1}};
    for (int i = -1; i < 5; i++) {
        struct maker m = {.len = 0};
        if (i >= 0)
            classify_fixture_put_record(&m, before[i][0], before[i][1],
                                        before[i][0] == ACK ? 2 : 40);
        size_t at = m.len;
        struct classified c = classify_fixture_run_made(&m);
        assert_int_equal(c.before_alert_len, m.len);
        assert_int_equal(c.alert_level, 0);
        for (int level = 1; level <= 2; level++) {
            classify_fixture_put_header(&m, ALERT, 0xfefd, 0, 2);
            classify_fixture_put_number(&m, level, 1);
            classify_fixture_put_number(&m, 40 + level, 1);
            classify_fixture_put_record(&m, HANDSHAKE, 0, 40);
            c = classify_fixture_run_made(&m);
            assert_int_equal(c.usable_len, m.len);
            assert_int_equal(c.before_alert_len, at);
            assert_int_equal(c.alert_level, 1);
            assert_int_equal(c.alert_code, 41);
        }
    }
    /* A malformed one says nothing, and is not to be read either. */
    for (int len = 1; len <= 20; len++) {
        struct maker m = {.len = 0};
        classify_fixture_put_header(&m, ALERT, 0xfefd, 0, len);
        for (int i = 0; i < len; i++)
            classify_fixture_put_number(&m, 2, 1);
        struct classified c = classify_fixture_run_made(&m);
        assert_int_equal(c.kind, DATAGRAM_PLAINTEXT);
        assert_int_equal(c.before_alert_len, 0);
        assert_int_equal(c.alert_level, len == 2 ? 2 : 0);
    }
}

static void test_what_is_of_a_flight(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        for (int type = CCS; type <= ACK; type++) {
            struct maker m = {.len = 0};
            classify_fixture_put_record(&m, type, epoch, 40);
            struct classified c = classify_fixture_run_made(&m);
            assert_int_equal(classify_is_of_flight(&c),
                             type == HANDSHAKE || (type == CID && epoch == 1));
        }
    }
    for (int first = 0x20; first < 0x30; first++) {
        struct maker m = {.len = 0};
        classify_fixture_put_ciphertext(&m, first, "\x12\x34\x00\x10",
                                        (first & 8 ? 2u : 1u) + (first & 4 ? 2u : 0u), 300);
        struct classified c = classify_fixture_run_made(&m);
        if (c.kind == DATAGRAM_PROTECTED)
            assert_int_equal(classify_is_of_flight(&c), (first & 3) == 2);
    }
    struct maker hello = {.len = 0};
    classify_fixture_put_header(&hello, HANDSHAKE, 0xfefd, 0, 40);
    classify_fixture_put_number(&hello, 1, 1);
    classify_fixture_put_zeros(&hello, 39);
    struct classified c = classify_fixture_run_made(&hello);
    assert_int_equal(c.kind, DATAGRAM_HELLO);
    assert_false(classify_is_of_flight(&c));
}

static void test_cut_at_the_first_malformed_record(void **state)
{
    (void)state;
    static const struct {
        int type, version, epoch, said, there;
    } bad[] = {
        {DATA, 0xfefd, 1, 0, 0},         {DATA, 0xfefd, 0, 40, 40}, {CID, 0xfefd, 0, 40, 40},
        {HEARTBEAT, 0xfefd, 0, 40, 40},  {DATA, 0x0303, 1, 40, 40}, {DATA, 0xfefc, 1, 40, 40},
        {DATA, 0xfefd, 1, 16641, 16641}, {0, 0, 0, 0, 0},           {27, 0xfefd, 0, 40, 40},
        {64, 0xfefd, 0, 40, 40},         {64, 0xfefc, 1, 40, 40},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct maker m = {.len = 0};
        classify_fixture_put_record(&m, DATA, 1, 30);
        classify_fixture_put_record(&m, DATA, 1, 31);
        size_t good_len = m.len;
        classify_fixture_put_header(&m, bad[i].type, bad[i].version, bad[i].epoch, bad[i].said);
        classify_fixture_put_zeros(&m, bad[i].there);
        classify_fixture_put_record(&m, DATA, 1, 32);
        struct classified c = classify_fixture_run_made(&m);
        assert_int_equal(c.kind, DATAGRAM_PROTECTED);
        assert_int_equal(c.usable_len, good_len);
        assert_int_equal(c.protected_len, good_len);
    }
    for (size_t rest = 1; rest < 13 + 30; rest++) {
        struct maker m = {.len = 0};
        classify_fixture_put_record(&m, DATA, 1, 30);
        classify_fixture_put_record(&m, DATA, 1, 30);
        m.len = 13 + 30 + rest;
        assert_int_equal(classify_fixture_run_made(&m).usable_len, 13 + 30);
    }
}

static void test_many_small_records(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    while (m.len + 14 <= 65507)
        classify_fixture_put_record(&m, ALERT, 1, 1);
    struct classified c = classify_fixture_run_made(&m);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, m.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_content_type),
        cmocka_unit_test(test_every_version),
        cmocka_unit_test(test_plaintext_coap),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_versions_are_levelled),
        cmocka_unit_test(test_lengths_at_the_limits),
        cmocka_unit_test(test_shorter_than_a_header),
        cmocka_unit_test(test_cid_record_reaches_to_the_end),
        cmocka_unit_test(test_every_first_byte_of_a_ciphertext),
        cmocka_unit_test(test_lengths_of_a_ciphertext),
        cmocka_unit_test(test_several_records),
        cmocka_unit_test(test_protected_then_plaintext),
        cmocka_unit_test(test_alerts_in_plaintext),
        cmocka_unit_test(test_what_is_of_a_flight),
        cmocka_unit_test(test_cut_at_the_first_malformed_record),
        cmocka_unit_test(test_many_small_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
