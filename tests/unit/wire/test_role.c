/* What may go toward a device, by phase. The role has no other value than server-only, so a gate
 * never begins a handshake: no ClientHello and no HelloRequest in any phase. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/role.h"

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23, HEARTBEAT = 24, CID = 25, ACK = 26 };
enum { PHASE_COUNT = ROLE_ENDED + 1 };

static const uint8_t retry_random[32] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

struct maker {
    uint8_t bytes[4096];
    size_t len;
};

static void put_record(struct maker *m, int type, int epoch, const void *body, size_t len)
{
    uint8_t header[13] = {
        (uint8_t)type,       0xfe,        0xfd, 0, (uint8_t)epoch, 0, 0, 0, 0, 0, 9,
        (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(m->bytes + m->len, header, sizeof(header));
    if (body != NULL)
        memcpy(m->bytes + m->len + 13, body, len);
    else
        memset(m->bytes + m->len + 13, 0x55, len);
    m->len += 13 + len;
}

/* A handshake message of that type; its random is that of a HelloRetryRequest on demand. */
static void put_message(struct maker *m, int epoch, int message, size_t len, bool is_retry)
{
    uint8_t body[512] = {(uint8_t)message};
    assert_true(len <= sizeof(body));
    if (is_retry)
        memcpy(body + 12 + 2, retry_random, sizeof(retry_random));
    put_record(m, HANDSHAKE, epoch, body, len);
}

static void put_ciphertext(struct maker *m, size_t len)
{
    uint8_t header[] = {0x2f, 0x12, 0x34, (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(m->bytes + m->len, header, sizeof(header));
    memset(m->bytes + m->len + sizeof(header), 0x16, len);
    m->len += sizeof(header) + len;
}

/* In a copy of the exact size, so that a sanitizer sees a byte too far. */
static bool may_send(enum role_phase phase, const uint8_t *bytes, size_t len, size_t request_len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    bool result = role_may_send(ROLE_SERVER_ONLY, phase, copy, len, request_len);
    free(copy);
    return result;
}

#define assert_phases(m, stranger, handshake, session)                                   \
    do {                                                                                 \
        assert_int_equal(may_send(ROLE_STRANGER, (m)->bytes, (m)->len, 4096), stranger); \
        assert_int_equal(may_send(ROLE_HANDSHAKE, (m)->bytes, (m)->len, 0), handshake);  \
        assert_int_equal(may_send(ROLE_SESSION, (m)->bytes, (m)->len, 0), session);      \
        assert_int_equal(may_send(ROLE_ENDED, (m)->bytes, (m)->len, 4096), false);       \
    } while (0)

static void test_plaintext_handshake_messages(void **state)
{
    (void)state;
    enum { HELLO_REQUEST = 0, CLIENT_HELLO = 1, HELLO_VERIFY_REQUEST = 3, NEW_TICKET = 4 };
    for (int message = 0; message < 256; message++) {
        struct maker m = {.len = 0};
        put_message(&m, 0, message, 60, false);
        bool begins_a_handshake = message == HELLO_REQUEST || message == CLIENT_HELLO;
        assert_phases(&m, message == HELLO_VERIFY_REQUEST, !begins_a_handshake,
                      message == NEW_TICKET);
    }
}

static void test_other_plaintext_records(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        if (type == HANDSHAKE || (type & 0xe0) == 0x20)
            continue;
        struct maker m = {.len = 0};
        put_record(&m, type, 0, NULL, 20);
        assert_phases(&m, false, type == CCS || type == ALERT || type == ACK, type == CCS);
    }
}

static void test_protected_records(void **state)
{
    (void)state;
    static const uint8_t types[] = {CCS, ALERT, HANDSHAKE, DATA, CID, ACK};
    for (size_t i = 0; i < sizeof(types); i++) {
        struct maker m = {.len = 0};
        put_record(&m, types[i], 1, NULL, 40);
        assert_phases(&m, false, true, true);
    }
    struct maker m = {.len = 0};
    put_ciphertext(&m, 40);
    assert_phases(&m, false, true, true);
}

static void test_a_header_and_no_more(void **state)
{
    (void)state;
    static const uint8_t types[] = {CCS, ALERT, HANDSHAKE, DATA, CID, ACK};
    for (size_t i = 0; i < sizeof(types); i++) {
        for (int epoch = 0; epoch < 2; epoch++) {
            struct maker m = {.len = 0};
            put_record(&m, types[i], epoch, "", 0);
            assert_phases(&m, false, false, false);
        }
    }
}

/* Where other records have their length, one with a connection ID has that. */
static void test_a_connection_id_is_no_length(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        struct maker m = {.len = 0};
        put_record(&m, CID, epoch, NULL, 40);
        m.bytes[11] = m.bytes[12] = 0xff;
        assert_phases(&m, false, epoch == 1, epoch == 1);
    }
}

static void test_no_client_hello_behind_other_records(void **state)
{
    (void)state;
    for (int message = 0; message < 2; message++) {
        static const struct {
            int type, epoch;
        } before[] = {{HANDSHAKE, 0}, {CCS, 0}, {ALERT, 0}, {HANDSHAKE, 1}, {DATA, 1}, {ALERT, 1}};
        for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
            struct maker m = {.len = 0};
            if (before[i].type == HANDSHAKE && before[i].epoch == 0)
                put_message(&m, 0, 2, 60, false);
            else
                put_record(&m, before[i].type, before[i].epoch, NULL, 20);
            put_message(&m, 0, message, 60, false);
            assert_phases(&m, false, false, false);
        }
    }
}

static void test_flights_of_a_handshake(void **state)
{
    (void)state;
    enum { SERVER_HELLO = 2, CERTIFICATE = 11, SERVER_KEY_EXCHANGE = 12, HELLO_DONE = 14 };
    struct maker m = {.len = 0};
    put_message(&m, 0, SERVER_HELLO, 80, false);
    put_message(&m, 0, CERTIFICATE, 400, false);
    put_message(&m, 0, SERVER_KEY_EXCHANGE, 120, false);
    put_message(&m, 0, HELLO_DONE, 12, false);
    assert_phases(&m, false, true, false);

    /* The last flight of 1.2 is repeated in the session too. */
    m.len = 0;
    put_record(&m, CCS, 0, "\x01", 1);
    put_record(&m, HANDSHAKE, 1, NULL, 40);
    assert_phases(&m, false, true, true);

    /* 1.3 */
    m.len = 0;
    put_message(&m, 0, SERVER_HELLO, 80, false);
    put_ciphertext(&m, 60);
    put_ciphertext(&m, 600);
    assert_phases(&m, false, true, false);
}

static void test_malformed(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    assert_phases(&m, false, false, false);
    put_record(&m, CCS, 0, "\x01", 1);
    put_record(&m, HANDSHAKE, 1, NULL, 40);
    size_t whole = m.len;
    for (m.len = 1; m.len < whole; m.len++)
        assert_phases(&m, false, m.len == 14, m.len == 14);
    /* A record without a body, in plaintext and not. */
    for (int epoch = 0; epoch < 2; epoch++) {
        m.len = 0;
        put_record(&m, CCS, epoch, NULL, 0);
        assert_phases(&m, false, false, false);
        put_record(&m, CCS, epoch, NULL, 1);
        assert_phases(&m, false, false, false);
    }
    /* Not DTLS at all. */
    m.len = 0;
    memcpy(m.bytes, "GET / HTTP/1.1\r\n\r\n", 18);
    m.len = 18;
    assert_phases(&m, false, false, false);
}

/* --- strangers ------------------------------------------------------------------------------- */

static void assert_stranger(const struct maker *m, bool expected)
{
    assert_int_equal(may_send(ROLE_STRANGER, m->bytes, m->len, 4096), expected);
}

static void test_cookie_replies(void **state)
{
    (void)state;
    enum { SERVER_HELLO = 2, HELLO_VERIFY_REQUEST = 3 };
    struct maker m = {.len = 0};
    put_message(&m, 0, HELLO_VERIFY_REQUEST, 12 + 3 + 32, false);
    assert_stranger(&m, true);
    size_t whole = m.len;
    for (m.len = 0; m.len < whole; m.len++)
        assert_stranger(&m, false);
    m.len = whole;
    put_record(&m, ALERT, 0, "\x02\x28", 2);
    assert_stranger(&m, false); /* one record only */

    m.len = 0;
    put_message(&m, 0, SERVER_HELLO, 12 + 2 + 32 + 40, true);
    assert_stranger(&m, true);
    m.len = 0;
    put_message(&m, 0, SERVER_HELLO, 12 + 2 + 32, true);
    assert_stranger(&m, true);
    m.len = 0;
    put_message(&m, 0, SERVER_HELLO, 12 + 2 + 31, true);
    assert_stranger(&m, false);
    /* A ServerHello proper differs in its random. */
    for (size_t i = 0; i < 32; i++) {
        m.len = 0;
        put_message(&m, 0, SERVER_HELLO, 12 + 2 + 32 + 40, true);
        m.bytes[13 + 12 + 2 + i] ^= 1;
        assert_stranger(&m, false);
    }
    for (int message = 0; message < 256; message++) {
        m.len = 0;
        put_message(&m, 0, message, 12 + 2 + 32 + 40, true);
        assert_stranger(&m, message == SERVER_HELLO || message == HELLO_VERIFY_REQUEST);
    }
    m.len = 0;
    put_message(&m, 1, HELLO_VERIFY_REQUEST, 60, false);
    assert_stranger(&m, false);
}

static void test_no_amplification(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_message(&m, 0, 3, 60 - 13, false);
    assert_int_equal(m.len, 60);
    assert_false(may_send(ROLE_STRANGER, m.bytes, m.len, 0));
    assert_false(may_send(ROLE_STRANGER, m.bytes, m.len, 19));
    assert_true(may_send(ROLE_STRANGER, m.bytes, m.len, 20));
    assert_true(may_send(ROLE_STRANGER, m.bytes, m.len, 65507));
}

/* --- devices whose handshake has failed ------------------------------------------------------- */

/* The alert, alone, in plaintext or not, and not longer than what it answers. */
static void test_refused_devices_hear_an_alert_and_nothing_else(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        for (int type = CCS; type <= ACK; type++) {
            struct maker m = {.len = 0};
            put_record(&m, type, epoch, NULL, 20);
            bool may = type == ALERT || (type == CID && epoch == 1);
            assert_int_equal(may_send(ROLE_REFUSED, m.bytes, m.len, m.len), may);
            assert_false(may_send(ROLE_REFUSED, m.bytes, m.len, m.len - 1));
            if (type == CID)
                continue; /* its end is not to be seen */
            put_record(&m, ALERT, epoch, NULL, 20);
            assert_false(may_send(ROLE_REFUSED, m.bytes, m.len, m.len));
        }
    }
    struct maker m = {.len = 0};
    put_ciphertext(&m, 20);
    assert_true(may_send(ROLE_REFUSED, m.bytes, m.len, m.len));
    assert_false(may_send(ROLE_REFUSED, m.bytes, m.len, m.len - 1));
    m.len = 0;
    put_record(&m, ALERT, 0, NULL, 2);
    for (m.len--; m.len > 0; m.len--)
        assert_false(may_send(ROLE_REFUSED, m.bytes, m.len, 4096));
}

static void test_unknown_role_and_phase_send_nothing(void **state)
{
    (void)state;
    struct maker m = {.len = 0};
    put_record(&m, DATA, 1, NULL, 40);
    for (int phase = 0; phase < 2 * PHASE_COUNT; phase++) {
        assert_false(role_may_send((enum role)(ROLE_SERVER_ONLY + 1), (enum role_phase)phase,
                                   m.bytes, m.len, 4096));
        bool may = phase == ROLE_HANDSHAKE || phase == ROLE_SESSION;
        assert_int_equal(may_send((enum role_phase)phase, m.bytes, m.len, 4096), may);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plaintext_handshake_messages),
        cmocka_unit_test(test_other_plaintext_records),
        cmocka_unit_test(test_protected_records),
        cmocka_unit_test(test_a_header_and_no_more),
        cmocka_unit_test(test_a_connection_id_is_no_length),
        cmocka_unit_test(test_no_client_hello_behind_other_records),
        cmocka_unit_test(test_flights_of_a_handshake),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_cookie_replies),
        cmocka_unit_test(test_no_amplification),
        cmocka_unit_test(test_refused_devices_hear_an_alert_and_nothing_else),
        cmocka_unit_test(test_unknown_role_and_phase_send_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
