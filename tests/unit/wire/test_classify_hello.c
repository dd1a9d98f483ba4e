/* What is read of a ClientHello, and of bytes that are nearly one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/classify_fixture.h"

/* --- hellos ---------------------------------------------------------------------------------- */

static struct classified run_hello(struct hello hello)
{
    struct maker m = {.len = 0};
    classify_fixture_put_hello(&m, &hello);
    struct classified c = classify_fixture_run_made(&m);
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
        struct hello hello = WHOLE_HELLO;
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
        struct hello hello = WHOLE_HELLO;
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
        classify_fixture_put_header(&m, HANDSHAKE, 0xfefd, 0, there);
        classify_fixture_put_number(&m, 1, 1);
        classify_fixture_put_zeros(&m, there - 1);
        assert_int_equal(classify_fixture_run_made(&m).kind, DATAGRAM_PLAINTEXT);
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
        struct hello hello = WHOLE_HELLO;
        classify_fixture_put_hello(&m, &hello);
        m.bytes[13] = (uint8_t)message;
        assert_int_equal(classify_fixture_run_made(&m).kind,
                         message == 1 ? DATAGRAM_HELLO : DATAGRAM_PLAINTEXT);
        m.bytes[4] = 1; /* epoch: the message is not to be seen */
        m.bytes[2] = 0xfd;
        assert_int_equal(classify_fixture_run_made(&m).kind, DATAGRAM_PROTECTED);
    }
    /* Behind another record it is not what the datagram begins with. */
    struct maker m = {.len = 0};
    struct hello hello = WHOLE_HELLO;
    classify_fixture_put_record(&m, ALERT, 0, 2);
    classify_fixture_put_hello(&m, &hello);
    assert_int_equal(classify_fixture_run_made(&m).kind, DATAGRAM_PLAINTEXT);
    m.len = 0;
    classify_fixture_put_hello(&m, &hello);
    m.bytes[0] = ALERT;
    assert_int_equal(classify_fixture_run_made(&m).kind, DATAGRAM_PLAINTEXT);
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
            struct hello hello = WHOLE_HELLO;
            hello.session_id_len = lens[s];
            hello.cookie_len = lens[c];
            struct maker m = {.len = 0};
            classify_fixture_put_hello(&m, &hello);
            const uint8_t *suites = run_suites(m.bytes, m.len, &size);
            assert_non_null(suites);
            assert_int_equal(size, 2);
            assert_memory_equal(suites, "\xc0\xa8", 2);
            /* Behind the record it goes on. */
            classify_fixture_put_record(&m, ALERT, 0, 2);
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
        struct hello hello = WHOLE_HELLO;
        hello.session_id_len = 8;
        hello.cookie_len = 8;
        hello.body_len = there;
        m.len = 0;
        classify_fixture_put_hello(&m, &hello);
        assert_null(run_suites(m.bytes, m.len, &size));
        m.bytes[11] = m.bytes[12] = 0xff; /* nor does the record say the truth */
        assert_null(run_suites(m.bytes, m.len, &size));
    }
    struct hello later = {1800, 40, 60, .body_len = 60};
    m.len = 0;
    classify_fixture_put_hello(&m, &later);
    assert_null(run_suites(m.bytes, m.len, &size));
    m.len = 0;
    classify_fixture_put_record(&m, ALERT, 0, 100);
    assert_null(run_suites(m.bytes, m.len, &size));
    m.bytes[0] = 0x2f;
    assert_null(run_suites(m.bytes, m.len, &size));
    struct hello hello = WHOLE_HELLO;
    m.len = 0;
    classify_fixture_put_hello(&m, &hello);
    m.bytes[13 + 12 + 34 + 2] = 0xff; /* the length of the suites */
    assert_null(run_suites(m.bytes, m.len, &size));
}

/* --- tickets --------------------------------------------------------------------------------- */

/* The ticket of a hello with these extensions, of which so many bytes of the body are there (-1 =
 * all). */
static const uint8_t *run_ticket(const char *extensions, size_t len, int body_len, size_t *size)
{
    static uint8_t found[64];
    struct hello hello = WHOLE_HELLO;
    struct maker m = {.len = 0};
    hello.session_id_len = hello.cookie_len = 8;
    hello.extensions = extensions;
    hello.extensions_len = (int)len;
    hello.body_len = body_len;
    classify_fixture_put_hello(&m, &hello);
    uint8_t *copy = malloc(m.len);
    assert_non_null(copy);
    memcpy(copy, m.bytes, m.len);
    const uint8_t *ticket = classify_hello_ticket(copy, m.len, size);
    if (ticket != NULL) {
        assert_true(ticket >= copy && ticket + *size <= copy + m.len);
        memcpy(found, ticket, *size);
    }
    free(copy);
    return ticket != NULL ? found : NULL;
}

#define OTHER "\0\x0a\0\4\0\2\0\x1d"
#define TICKET "\0\x23\0\6ticket"
/* Two identities, "first" and "second", and what goes with them. */
#define PRE_SHARED "\0\x29\0\x22\0\x17\0\5first\0\0\0\0\0\6second\0\0\0\0\0\7\6binder"

static void test_ticket_of_a_hello(void **state)
{
    (void)state;
    static const struct {
        const char *extensions;
        size_t len;
        const char *ticket; /* NULL = none */
    } cases[] = {
        {TICKET, sizeof(TICKET) - 1, "ticket"},
        {OTHER TICKET OTHER, sizeof(OTHER TICKET OTHER) - 1, "ticket"},
        {OTHER PRE_SHARED, sizeof(OTHER PRE_SHARED) - 1, "first"},
        {"\0\x23\0\0", 4, ""}, /* asks for one */
        {"\0\x23\0\0" PRE_SHARED, sizeof("\0\x23\0\0" PRE_SHARED) - 1, "first"},
        {"\0\x23\0\0" OTHER, sizeof("\0\x23\0\0" OTHER) - 1, ""},
        {OTHER, sizeof(OTHER) - 1, NULL},
        {"", 0, NULL},
        {"\0\x29\0\3\0\3\0", 7, NULL},    /* no room for an identity */
        {"\0\x29\0\5\0\3\0\2x", 9, NULL}, /* longer than its extension */
        {"\0\x23\0\7ticket", 10, NULL},   /* longer than the hello */
        {OTHER "\0\x23\0", sizeof(OTHER) + 2, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t size = 0;
        const uint8_t *ticket = run_ticket(cases[i].extensions, cases[i].len, -1, &size);
        assert_int_equal(ticket != NULL, cases[i].ticket != NULL);
        if (ticket != NULL) {
            assert_int_equal(size, strlen(cases[i].ticket));
            assert_memory_equal(ticket, cases[i].ticket, size);
        }
    }
}

/* Wherever the record ends, nothing behind it is looked at; what is whole before it is found. */
static void test_ticket_of_a_hello_cut_anywhere(void **state)
{
    (void)state;
    enum { EXTENSIONS_AT = 2 + 32 + 9 + 9 + 4 + 2 + 2 };
    size_t size;
    for (int there = 0; there < EXTENSIONS_AT + (int)sizeof(TICKET OTHER) - 1; there++) {
        const uint8_t *ticket = run_ticket(TICKET OTHER, sizeof(TICKET OTHER) - 1, there, &size);
        assert_int_equal(ticket != NULL, there >= EXTENSIONS_AT + (int)sizeof(TICKET) - 1);
    }
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
        assert_true((r[3] | r[4]) != 0 || (r[0] >= CCS && r[0] <= ACK));
        assert_true((r[3] | r[4]) == 0 || (r[1] == 0xfe && r[2] == 0xfd));
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
        struct hello hello = WHOLE_HELLO;
        hello.session_id_len = (int)(next_random(&random) % 33);
        hello.extensions = OTHER PRE_SHARED TICKET;
        hello.extensions_len = sizeof(OTHER PRE_SHARED TICKET) - 1;
        if (i % 2 == 0)
            classify_fixture_put_hello(&m, &hello);
        else
            classify_fixture_put_record(&m, DATA, 1, (int)(next_random(&random) % 30) + 1);
        classify_fixture_put_record(&m, HANDSHAKE, 1, (int)(next_random(&random) % 30) + 1);
        for (uint64_t changes = next_random(&random) % 4; changes > 0; changes--)
            m.bytes[next_random(&random) % m.len] = (uint8_t)next_random(&random);
        if (next_random(&random) % 2 == 0)
            m.len = next_random(&random) % (m.len + 1);
        struct classified c = classify_fixture_run_made(&m);
        assert_not_junk_records(m.bytes, &c);
        size_t size;
        assert_true(run_suites(m.bytes, m.len, &size) == NULL || c.kind == DATAGRAM_HELLO);
        const uint8_t *ticket = classify_hello_ticket(m.bytes, m.len, &size);
        assert_true(ticket == NULL || ticket + size <= m.bytes + m.len);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    classify_fixture_assert_junk(&m);
    classify_fixture_put_zeros(&m, 65507);
    classify_fixture_assert_junk(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_hello_cut_anywhere),
        cmocka_unit_test(test_fragments_of_a_hello),
        cmocka_unit_test(test_only_a_plaintext_client_hello_is_a_hello),
        cmocka_unit_test(test_suites_of_a_hello),
        cmocka_unit_test(test_suites_that_are_not_there),
        cmocka_unit_test(test_ticket_of_a_hello),
        cmocka_unit_test(test_ticket_of_a_hello_cut_anywhere),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
