/* Bytes of a datagram are told apart, and a datagram is cut before its first malformed record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify.h"

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23, HEARTBEAT = 24, CID = 25, ACK = 26 };

/* A datagram under construction. */
struct maker {
    uint8_t bytes[65536];
    size_t len;
};

static void put(struct maker *m, const void *bytes, size_t len)
{
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

static void put_number(struct maker *m, uint64_t number, int size)
{
    for (int i = size - 1; i >= 0; i--)
        m->bytes[m->len++] = (uint8_t)(number >> (8 * i));
}

static void put_zeros(struct maker *m, size_t len)
{
    memset(m->bytes + m->len, 0, len);
    m->len += len;
}

/* The header alone, which may say a length that is not there. */
static void put_header(struct maker *m, int type, int version, int epoch, int body_len)
{
    put_number(m, type, 1);
    put_number(m, version, 2);
    put_number(m, epoch, 2);
    put_number(m, 7, 6);
    put_number(m, body_len, 2);
}

static void put_record(struct maker *m, int type, int epoch, int body_len)
{
    put_header(m, type, 0xfefd, epoch, body_len);
    put_zeros(m, body_len);
}

struct hello {
    int message_len, fragment_offset, fragment_len; /* -1: as it is */
    int session_id_len, cookie_len;
    int body_len; /* bytes of the body that are there; -1: all */
};

#define WHOLE                     \
    {                             \
        -1, 0, -1, .body_len = -1 \
    }

/* version, random 00 01 .. 1f, session id, cookie, suites, compression methods */
static void put_hello(struct maker *m, const struct hello *hello)
{
    struct maker body = {.len = 0};
    put_number(&body, 0xfefd, 2);
    for (int i = 0; i < 32; i++)
        put_number(&body, i, 1);
    put_number(&body, hello->session_id_len, 1);
    put_zeros(&body, hello->session_id_len);
    put_number(&body, hello->cookie_len, 1);
    put_zeros(&body, hello->cookie_len);
    put_number(&body, 0x0002c0a80100, 6);
    int body_len = hello->body_len >= 0 ? hello->body_len : (int)body.len;
    put_header(m, HANDSHAKE, 0xfeff, 0, 12 + body_len);
    put_number(m, 1, 1);
    put_number(m, hello->message_len >= 0 ? hello->message_len : (int)body.len, 3);
    put_number(m, 0, 2);
    put_number(m, hello->fragment_offset, 3);
    put_number(m, hello->fragment_len >= 0 ? hello->fragment_len : (int)body.len, 3);
    put(m, body.bytes, body_len);
}

/* A DTLS 1.3 ciphertext: first byte, then `len` bytes. */
static void put_ciphertext(struct maker *m, int first_byte, const char *header, size_t header_len,
                           size_t len)
{
    put_number(m, first_byte, 1);
    put(m, header, header_len);
    put_zeros(m, len);
}

/* Everything goes through a copy of the exact size, so that a sanitizer sees a byte too far. */
static struct classified run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    struct classified result = classify(len > 0 ? copy : copy + 1, len);
    free(copy);
    assert_true(result.usable_len <= len);
    assert_true(result.protected_len <= result.usable_len);
    assert_true((result.kind == DATAGRAM_JUNK) == (result.usable_len == 0));
    return result;
}

static struct classified run_made(const struct maker *m)
{
    return run(m->bytes, m->len);
}

static void assert_junk(const struct maker *m)
{
    assert_int_equal(run_made(m).kind, DATAGRAM_JUNK);
}

/* --- one record ------------------------------------------------------------------------------ */

static void test_every_content_type(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        if ((type & 0xe0) == 0x20)
            continue; /* the other header form, below */
        for (int epoch = 0; epoch < 3; epoch++) {
            struct maker m = {.len = 0};
            put_record(&m, type, epoch, 40);
            struct classified c = run_made(&m);
            bool is_known = type >= CCS && type <= ACK && type != HEARTBEAT;
            bool needs_keys = type == DATA || type == CID;
            if (!is_known || (epoch == 0 && needs_keys)) {
                assert_int_equal(c.kind, DATAGRAM_JUNK);
                continue;
            }
            assert_int_equal(c.kind, epoch == 0 ? DATAGRAM_PLAINTEXT : DATAGRAM_PROTECTED);
            assert_int_equal(c.first_type, type);
            assert_int_equal(c.usable_len, m.len);
            /* In a session of 1.2 a handshake message can only be a repeated Finished or begin a
             * renegotiation; in 1.3 its type is encrypted. */
            assert_int_equal(c.protected_len, epoch == 0 || type == HANDSHAKE ? 0 : m.len);
        }
    }
}

static void test_every_version(void **state)
{
    (void)state;
    struct maker m;
    for (int version = 0; version < 0x10000; version++) {
        m.len = 0;
        put_header(&m, HANDSHAKE, version, 0, 20);
        put_zeros(&m, 20);
        bool is_good = version == 0xfeff || version == 0xfefd;
        assert_int_equal(run_made(&m).kind, is_good ? DATAGRAM_PLAINTEXT : DATAGRAM_JUNK);
    }
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
            put_header(&m, ALERT, 0xfefd, epoch, cases[i].said);
            put_zeros(&m, cases[i].there);
            struct classified c = run_made(&m);
            assert_int_equal(c.kind != DATAGRAM_JUNK, cases[i].is_good);
            assert_int_equal(c.usable_len, cases[i].is_good ? m.len : 0);
        }
    }
}

static void test_shorter_than_a_header(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_record(&m, HANDSHAKE, 0, 40);
    for (m.len = 0; m.len < 13; m.len++)
        assert_junk(&m);
}

static void test_cid_record_reaches_to_the_end(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_record(&m, CID, 1, 30);
    put_record(&m, HANDSHAKE, 0, 30);
    struct classified c = run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PROTECTED);
    assert_int_equal(c.first_type, CID);
    assert_int_equal(c.protected_len, m.len);
    put_zeros(&m, 16640 - m.len);
    assert_int_equal(run_made(&m).usable_len, 16640);
    put_zeros(&m, 1);
    assert_junk(&m);
}

/* --- DTLS 1.3 ciphertext --------------------------------------------------------------------- */

static void test_every_first_byte_of_a_ciphertext(void **state)
{
    (void)state;
    for (int first = 0x20; first < 0x40; first++) {
        struct maker m = {.len = 0};
        bool has_cid = (first & 0x10) != 0, has_length = (first & 0x04) != 0;
        size_t number_len = (first & 0x08) != 0 ? 2 : 1;
        put_ciphertext(&m, first, "\xff\xff", number_len, 0);
        if (has_length)
            put_number(&m, 16, 2);
        size_t header_len = m.len;
        put_zeros(&m, 16);
        struct classified c = run_made(&m);
        assert_int_equal(c.kind, DATAGRAM_PROTECTED);
        assert_int_equal(c.first_type, first);
        assert_int_equal(c.protected_len, m.len);

        /* One byte less cannot be decrypted (RFC 9147 section 4.2.3). */
        m.len--;
        assert_int_equal(run_made(&m).kind, has_cid ? DATAGRAM_PROTECTED : DATAGRAM_JUNK);
        /* One byte more is the next record if there is a length, else part of this one. */
        m.len = header_len;
        put_zeros(&m, 17);
        c = run_made(&m);
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
        put_number(&m, 0x2f, 1);
        put_number(&m, 0x1234, 2);
        put_number(&m, cases[i].said, 2);
        put_zeros(&m, cases[i].there);
        assert_int_equal(run_made(&m).usable_len,
                         cases[i].is_good ? (size_t)(5 + cases[i].said) : 0);
    }
    /* Without a length the datagram's end is the record's. */
    for (int there = 16639; there <= 16642; there++) {
        struct maker m = {.len = 0};
        put_ciphertext(&m, 0x22, "\x01", 1, there);
        assert_int_equal(run_made(&m).usable_len, there <= 16640 ? m.len : 0);
    }
    /* Only the header, or part of it. */
    struct maker m = {.len = 0};
    put_number(&m, 0x2f12340010, 5);
    for (; m.len > 0; m.len--)
        assert_junk(&m);
}

/* --- several records ------------------------------------------------------------------------- */

static void test_several_records(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_record(&m, HANDSHAKE, 0, 100);
    put_record(&m, CCS, 0, 1);
    put_record(&m, HANDSHAKE, 1, 40);
    struct classified c = run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PLAINTEXT);
    assert_int_equal(c.first_type, HANDSHAKE);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, 0);
}

static void test_protected_then_plaintext(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_record(&m, DATA, 1, 40);
    put_number(&m, 0x2f12340010, 5);
    put_zeros(&m, 16);
    size_t protected_len = m.len;
    put_record(&m, ALERT, 0, 2);
    put_record(&m, DATA, 1, 40);
    struct classified c = run_made(&m);
    assert_int_equal(c.kind, DATAGRAM_PROTECTED);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, protected_len);
}

static void test_cut_at_the_first_malformed_record(void **state)
{
    (void)state;
    static const struct {
        int type, version, epoch, said, there;
    } bad[] = {
        {DATA, 0xfefd, 1, 0, 0},         {DATA, 0xfefd, 0, 40, 40}, {CID, 0xfefd, 0, 40, 40},
        {HEARTBEAT, 0xfefd, 1, 40, 40},  {DATA, 0x0303, 1, 40, 40}, {DATA, 0xfefc, 1, 40, 40},
        {DATA, 0xfefd, 1, 16641, 16641}, {0, 0, 0, 0, 0},           {27, 0xfefd, 1, 40, 40},
        {64, 0xfefd, 1, 40, 40},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct maker m = {.len = 0};
        put_record(&m, DATA, 1, 30);
        put_record(&m, DATA, 1, 31);
        size_t good_len = m.len;
        put_header(&m, bad[i].type, bad[i].version, bad[i].epoch, bad[i].said);
        put_zeros(&m, bad[i].there);
        put_record(&m, DATA, 1, 32);
        struct classified c = run_made(&m);
        assert_int_equal(c.kind, DATAGRAM_PROTECTED);
        assert_int_equal(c.usable_len, good_len);
        assert_int_equal(c.protected_len, good_len);
    }
    for (size_t rest = 1; rest < 13 + 30; rest++) {
        struct maker m = {.len = 0};
        put_record(&m, DATA, 1, 30);
        put_record(&m, DATA, 1, 30);
        m.len = 13 + 30 + rest;
        assert_int_equal(run_made(&m).usable_len, 13 + 30);
    }
}

static void test_many_small_records(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    while (m.len + 14 <= 65507)
        put_record(&m, ALERT, 1, 1);
    struct classified c = run_made(&m);
    assert_int_equal(c.usable_len, m.len);
    assert_int_equal(c.protected_len, m.len);
}

/* --- hellos ---------------------------------------------------------------------------------- */

static struct classified run_hello(struct hello hello)
{
    struct maker m = {.len = 0};
    put_hello(&m, &hello);
    struct classified c = run_made(&m);
    if (c.kind != DATAGRAM_JUNK)
        assert_int_equal(c.usable_len, m.len);
    return c;
}

static void test_hello(void **state)
{
    (void)state;
    static const uint8_t end_of_random[8] = {0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
    static const struct {
        int session_id_len, cookie_len;
    } cases[] = {{0, 0}, {0, 20}, {0, 255}, {32, 0}, {32, 1}, {255, 0}, {255, 255}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hello hello = WHOLE;
        hello.session_id_len = cases[i].session_id_len;
        hello.cookie_len = cases[i].cookie_len;
        struct classified c = run_hello(hello);
        assert_int_equal(c.kind, DATAGRAM_HELLO);
        assert_int_equal(c.first_type, HANDSHAKE);
        assert_int_equal(c.protected_len, 0);
        assert_int_equal(c.has_cookie, cases[i].cookie_len != 0);
        assert_false(c.is_fragment);
        assert_false(c.is_later_fragment);
        assert_memory_equal(&c.hello_tag, end_of_random, 8);
    }
}

static void test_hello_cut_anywhere(void **state)
{
    (void)state;
    for (int there = 0; there < 60; there++) {
        struct hello hello = WHOLE;
        hello.session_id_len = 8;
        hello.cookie_len = 8;
        hello.body_len = there;
        struct classified c = run_hello(hello);
        assert_int_equal(c.kind, DATAGRAM_HELLO);
        assert_int_equal(c.has_cookie, there > 2 + 32 + 1 + 8);
        assert_int_equal(c.hello_tag != 0, there >= 2 + 32);
    }
    /* Shorter than the header of a handshake message: a ClientHello cannot be told. */
    for (int there = 1; there < 12; there++) {
        struct maker m = {.len = 0};
        put_header(&m, HANDSHAKE, 0xfefd, 0, there);
        put_number(&m, 1, 1);
        put_zeros(&m, there - 1);
        assert_int_equal(run_made(&m).kind, DATAGRAM_PLAINTEXT);
    }
}

static void test_fragments_of_a_hello(void **state)
{
    (void)state;
    struct hello first = {1800, 0, 40, .body_len = 40};
    struct classified c = run_hello(first);
    assert_int_equal(c.kind, DATAGRAM_HELLO);
    assert_true(c.is_fragment);
    assert_false(c.is_later_fragment);
    assert_true(c.hello_tag != 0);

    struct hello later = {1800, 40, 40, .body_len = 40};
    c = run_hello(later);
    assert_int_equal(c.kind, DATAGRAM_HELLO);
    assert_true(c.is_fragment);
    assert_true(c.is_later_fragment);
    assert_true(c.hello_tag == 0);
    assert_false(c.has_cookie);

    struct hello last_byte = {1800, 1799, 1, .body_len = 1};
    assert_true(run_hello(last_byte).is_later_fragment);
    struct hello empty = {1800, 0, 0, .body_len = 0};
    assert_true(run_hello(empty).is_fragment);
    struct hello impossible = {10, 0xffffff, 0xffffff, .body_len = 40};
    assert_true(run_hello(impossible).is_later_fragment);
    struct hello all_in_one = {50, 50, 50, .body_len = 50};
    assert_true(run_hello(all_in_one).is_later_fragment);
}

static void test_only_a_plaintext_client_hello_is_a_hello(void **state)
{
    (void)state;
    for (int message = 0; message < 256; message++) {
        struct maker m = {.len = 0};
        struct hello hello = WHOLE;
        put_hello(&m, &hello);
        m.bytes[13] = (uint8_t)message;
        assert_int_equal(run_made(&m).kind, message == 1 ? DATAGRAM_HELLO : DATAGRAM_PLAINTEXT);
        m.bytes[4] = 1; /* epoch: the message is not to be seen */
        assert_int_equal(run_made(&m).kind, DATAGRAM_PROTECTED);
    }
    /* Behind another record it is not what the datagram begins with. */
    struct maker m = {.len = 0};
    struct hello hello = WHOLE;
    put_record(&m, ALERT, 0, 2);
    put_hello(&m, &hello);
    assert_int_equal(run_made(&m).kind, DATAGRAM_PLAINTEXT);
    m.len = 0;
    put_hello(&m, &hello);
    m.bytes[0] = ALERT;
    assert_int_equal(run_made(&m).kind, DATAGRAM_PLAINTEXT);
}

static const uint8_t *run_suites(const uint8_t *bytes, size_t len, size_t *size)
{
    static uint8_t found[65536];
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    const uint8_t *suites = classify_hello_suites(copy, len, size);
    if (suites != NULL) {
        assert_true(suites >= copy && suites + *size <= copy + len);
        memcpy(found, suites, *size);
    }
    free(copy);
    return suites != NULL ? found : NULL;
}

static void test_suites_of_a_hello(void **state)
{
    (void)state;
    static const int lens[] = {0, 1, 32, 255};
    size_t size = 0;
    for (int s = 0; s < 4; s++) {
        for (int c = 0; c < 4; c++) {
            struct hello hello = WHOLE;
            hello.session_id_len = lens[s];
            hello.cookie_len = lens[c];
            struct maker m = {.len = 0};
            put_hello(&m, &hello);
            const uint8_t *suites = run_suites(m.bytes, m.len, &size);
            assert_non_null(suites);
            assert_int_equal(size, 2);
            assert_memory_equal(suites, "\xc0\xa8", 2);
            /* Behind the record it goes on. */
            put_record(&m, ALERT, 0, 2);
            assert_non_null(run_suites(m.bytes, m.len, &size));
        }
    }
}

static void test_suites_that_are_not_there(void **state)
{
    (void)state;
    size_t size = 0;
    struct maker m = {.len = 0};
    assert_null(run_suites(m.bytes, 0, &size));
    /* The body ends anywhere before the last suite. */
    for (int there = 0; there < 2 + 32 + 9 + 9 + 2 + 2; there++) {
        struct hello hello = WHOLE;
        hello.session_id_len = 8;
        hello.cookie_len = 8;
        hello.body_len = there;
        m.len = 0;
        put_hello(&m, &hello);
        assert_null(run_suites(m.bytes, m.len, &size));
        m.bytes[11] = m.bytes[12] = 0xff; /* nor does the record say the truth */
        assert_null(run_suites(m.bytes, m.len, &size));
    }
    struct hello later = {1800, 40, 60, .body_len = 60};
    m.len = 0;
    put_hello(&m, &later);
    assert_null(run_suites(m.bytes, m.len, &size));
    m.len = 0;
    put_record(&m, ALERT, 0, 100);
    assert_null(run_suites(m.bytes, m.len, &size));
    m.bytes[0] = 0x2f;
    assert_null(run_suites(m.bytes, m.len, &size));
    struct hello hello = WHOLE;
    m.len = 0;
    put_hello(&m, &hello);
    m.bytes[13 + 12 + 34 + 2] = 0xff; /* the length of the suites */
    assert_null(run_suites(m.bytes, m.len, &size));
}

/* --- anything -------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Checks a verdict against the bytes, record by record, as RFC 6347 and RFC 9147 write them. */
static void assert_not_junk_records(const uint8_t *bytes, const struct classified *c)
{
    size_t at = 0;
    while (at < c->usable_len) {
        const uint8_t *r = bytes + at;
        if ((r[0] & 0xe0) == 0x20 || r[0] == CID)
            return; /* lengths are covered above */
        assert_true(c->usable_len - at >= 14);
        assert_in_range(r[0], CCS, ACK);
        assert_int_equal(r[1], 0xfe);
        size_t record_len = 13 + (size_t)(r[11] << 8 | r[12]);
        assert_true(record_len > 13 && record_len <= c->usable_len - at);
        at += record_len;
    }
    assert_int_equal(at, c->usable_len);
}

static void test_any_bytes(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 50000; i++) {
        struct maker m = {.len = 0};
        struct hello hello = WHOLE;
        hello.session_id_len = (int)(next_random(&random) % 33);
        if (i % 2 == 0)
            put_hello(&m, &hello);
        else
            put_record(&m, DATA, 1, (int)(next_random(&random) % 30) + 1);
        put_record(&m, HANDSHAKE, 1, (int)(next_random(&random) % 30) + 1);
        for (uint64_t changes = next_random(&random) % 4; changes > 0; changes--)
            m.bytes[next_random(&random) % m.len] = (uint8_t)next_random(&random);
        if (next_random(&random) % 2 == 0)
            m.len = next_random(&random) % (m.len + 1);
        struct classified c = run_made(&m);
        assert_not_junk_records(m.bytes, &c);
        size_t size;
        assert_true(run_suites(m.bytes, m.len, &size) == NULL || c.kind == DATAGRAM_HELLO);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    assert_junk(&m);
    put_zeros(&m, 65507);
    assert_junk(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_content_type),
        cmocka_unit_test(test_every_version),
        cmocka_unit_test(test_lengths_at_the_limits),
        cmocka_unit_test(test_shorter_than_a_header),
        cmocka_unit_test(test_cid_record_reaches_to_the_end),
        cmocka_unit_test(test_every_first_byte_of_a_ciphertext),
        cmocka_unit_test(test_lengths_of_a_ciphertext),
        cmocka_unit_test(test_several_records),
        cmocka_unit_test(test_protected_then_plaintext),
        cmocka_unit_test(test_cut_at_the_first_malformed_record),
        cmocka_unit_test(test_many_small_records),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_hello_cut_anywhere),
        cmocka_unit_test(test_fragments_of_a_hello),
        cmocka_unit_test(test_only_a_plaintext_client_hello_is_a_hello),
        cmocka_unit_test(test_suites_of_a_hello),
        cmocka_unit_test(test_suites_that_are_not_there),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
