/* Records with connection IDs: their length is known from the listener only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/classify.h"
#include "wire/classify_fixture.h"

static const char cid_a[] = "0123456789abcdefghijklmnopqrstuv",
                  cid_b[] = "0123456789abcdefghijklmnopqrstuX";

static struct classified run(const struct maker *m, size_t cid_len)
{
    uint8_t *copy = malloc(m->len);
    assert_non_null(copy);
    memcpy(copy, m->bytes, m->len);
    struct classified c = classify(copy, m->len, cid_len);
    assert_true(c.cid == NULL || (c.cid > copy && c.cid + cid_len <= copy + m->len));
    if (c.cid != NULL)
        c.cid = m->bytes + (c.cid - copy);
    free(copy);
    assert_true(c.protected_len <= c.usable_len && c.usable_len <= m->len);
    return c;
}

static void put_1_2(struct maker *m, const char *cid, size_t cid_len, int body_len)
{
    classify_fixture_put_header(m, CID, 0xfefd, 1, 0);
    m->len -= 2;
    classify_fixture_put(m, cid, cid_len);
    classify_fixture_put_number(m, body_len, 2);
    classify_fixture_put_zeros(m, body_len);
}

/* With a length field. */
static void put_1_3(struct maker *m, const char *cid, size_t cid_len, int body_len)
{
    classify_fixture_put_number(m, 0x3f, 1);
    classify_fixture_put(m, cid, cid_len);
    classify_fixture_put_number(m, 0x1234, 2);
    classify_fixture_put_number(m, body_len, 2);
    classify_fixture_put_zeros(m, body_len);
}

static void (*const puts_record[])(struct maker *, const char *, size_t, int) = {put_1_2, put_1_3};

static void test_every_length(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        for (size_t cid_len = 1; cid_len <= 32; cid_len++) {
            struct maker m = {.len = 0};
            puts_record[form](&m, cid_a, cid_len, 40);
            struct classified c = run(&m, cid_len);
            assert_int_equal(c.kind, DATAGRAM_PROTECTED);
            assert_int_equal(c.protected_len, m.len);
            assert_memory_equal(c.cid, cid_a, cid_len);
            /* Cut anywhere it is no record. */
            for (m.len--; m.len > 0; m.len--)
                assert_int_equal(run(&m, cid_len).kind, DATAGRAM_JUNK);
        }
    }
}

/* Records of different sessions never share a datagram: RFC 9147 section 4. */
static void test_only_records_of_one_session(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        struct maker m = {.len = 0};
        puts_record[form](&m, cid_a, 32, 40);
        puts_record[form](&m, cid_a, 32, 50);
        size_t same = m.len;
        puts_record[form](&m, cid_b, 32, 40);
        puts_record[form](&m, cid_a, 32, 40);
        assert_int_equal(run(&m, 32).protected_len, same);
        m.len = same;
        classify_fixture_put_record(&m, DATA, 1, 40);
        assert_int_equal(run(&m, 32).protected_len, same);
        m.len = 0;
        classify_fixture_put_record(&m, DATA, 1, 40);
        size_t without = m.len;
        puts_record[form](&m, cid_a, 32, 40);
        struct classified c = run(&m, 32);
        assert_null(c.cid);
        assert_int_equal(c.protected_len, without);
        assert_int_equal(c.usable_len, m.len);
    }
}

/* The last flight of a device, all in one datagram. */
static void test_after_plaintext(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, HANDSHAKE, 0, 40);
    classify_fixture_put_record(&m, CCS, 0, 1);
    put_1_2(&m, cid_a, 8, 40);
    struct classified c = run(&m, 8);
    assert_int_equal(c.kind, DATAGRAM_PLAINTEXT);
    assert_null(c.cid);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, 0);
}

/* A whole flight, and behind it what lacks a connection ID. */
static void test_before_missing_cid(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        struct maker m = {.len = 0};
        classify_fixture_put_record(&m, CCS, 0, 1);
        size_t plaintext = m.len;
        puts_record[form](&m, cid_a, 8, 40);
        assert_int_equal(classify_before_missing_cid(m.bytes, m.len, 8), m.len);
        size_t before = m.len;
        classify_fixture_put_record(&m, DATA, 1, 40);
        puts_record[form](&m, cid_a, 8, 40);
        assert_int_equal(classify_before_missing_cid(m.bytes, m.len, 8), before);
        assert_int_equal(classify_before_missing_cid(m.bytes, before - 1, 8), plaintext);
    }
    struct maker m = {.len = 0};
    classify_fixture_put_record(&m, DATA, 1, 40);
    assert_int_equal(classify_before_missing_cid(m.bytes, m.len, 8), 0);
    assert_int_equal(classify_before_missing_cid(m.bytes, 0, 8), 0);
}

static void test_epoch_0_has_none(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_1_2(&m, cid_a, 8, 40);
    m.bytes[4] = 0;
    assert_int_equal(run(&m, 8).kind, DATAGRAM_JUNK);
}

static void test_short_and_without_length_field(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_put_number(&m, 0x30, 1); /* no length, a sequence number of one byte */
    classify_fixture_put(&m, cid_a, 8);
    classify_fixture_put_number(&m, 7, 1);
    classify_fixture_put_zeros(&m, 16);
    assert_int_equal(run(&m, 8).protected_len, m.len);
    m.len--;
    assert_int_equal(run(&m, 8).kind, DATAGRAM_JUNK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_only_records_of_one_session),
        cmocka_unit_test(test_after_plaintext),
        cmocka_unit_test(test_before_missing_cid),
        cmocka_unit_test(test_epoch_0_has_none),
        cmocka_unit_test(test_short_and_without_length_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
