/* dtls_park.c: an object that was imported does what the exported one would have done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/dtls_pair.h"
#include "gate/gate_wolfssl.h"
#include "handshake/dtls_park.h"

enum { TYPE_APPLICATION_DATA = 23, RECORD_MAX = 512 };

#define PSK_12 .version = VERSION_1_2, .identity = "device1", .key = "0123456789abcdef"
#define CERT_12 .version = VERSION_1_2, .certificate = "device"

static const struct client_kind kinds[] = {
    {.name = "psk ccm-8", PSK_12, .suites = "PSK-AES128-CCM-8"},
    {.name = "psk ccm", PSK_12, .suites = "PSK-AES128-CCM"},
    {.name = "psk gcm", PSK_12, .suites = "PSK-AES128-GCM-SHA256"},
    {.name = "psk chacha", PSK_12, .suites = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256"},
    {.name = "ecdsa ccm-8", CERT_12, .suites = "ECDHE-ECDSA-AES128-CCM-8"},
    {.name = "ecdsa gcm", CERT_12, .suites = "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {.name = "ecdsa chacha", CERT_12, .suites = "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {.name = "empty cid", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true},
    {.name = "cid 1", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true, .cid_bytes = 1},
    {.name = "cid 6",
     CERT_12,
     .suites = "ECDHE-ECDSA-AES128-GCM-SHA256",
     .has_cid = true,
     .cid_bytes = 6},
    {.name = "cid 32", PSK_12, .suites = "PSK-AES128-CCM-8", .has_cid = true, .cid_bytes = 32},
    {.name = "fragment 512", PSK_12, .suites = "PSK-AES128-CCM-8", .max_fragment = 1},
    {.name = "fragment 4096",
     PSK_12,
     .suites = "PSK-AES128-CCM-8",
     .max_fragment = 4,
     .has_cid = true,
     .cid_bytes = 3},
    {.name = "renegotiation info",
     PSK_12,
     .suites = "PSK-AES128-CCM-8",
     .has_renegotiation_info = true},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static struct dtls_export state;

static size_t cid_len(const struct dtls_pair *p)
{
    return dtls_has_cid(p->dtls) ? sizeof(dtls_pair_cid) : 0;
}

static struct dtls *import(const struct dtls_pair *p)
{
    struct dtls *twin =
        dtls_import(p->dtls->listener, VERSION_1_2, dtls_pair_cid, cid_len(p), &state);
    assert_non_null(twin);
    dtls_set_sender(twin, p->dtls->send, p->dtls->owner);
    return twin;
}

/* The object gives way to its own import. */
static void park(struct dtls_pair *p)
{
    assert_true(dtls_export(p->dtls, &state));
    struct dtls *twin = import(p);
    dtls_free(p->dtls);
    p->dtls = twin;
}

static enum dtls_can_park can_park(const struct dtls_pair *p, enum dtls_version version)
{
    return dtls_can_park(p->dtls, version, dtls_pair_cid, cid_len(p));
}

static void gate_sends(struct dtls *dtls, const char *text)
{
    assert_int_equal(dtls_send(dtls, (const uint8_t *)text, strlen(text)), DTLS_SENT);
}

static void assert_both_ways(struct dtls_pair *p, const char *text)
{
    size_t len = strlen(text);
    uint32_t before = p->plaintexts;
    assert_true(memory_client_send(p->client, text, len));
    dtls_pair_talk(p);
    assert_int_equal(p->plaintexts, before + 1);
    assert_int_equal(p->plaintext.len, len);
    assert_memory_equal(p->plaintext.data, text, len);
    assert_int_equal(dtls_discarded(p->dtls), 0);
    gate_sends(p->dtls, text);
    dtls_pair_talk(p);
    assert_int_equal(memory_client_last(p->client).len, len);
    assert_memory_equal(memory_client_last(p->client).data, text, len);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void session_goes_on(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        const char *suite = dtls_suite(p->dtls);
        uint16_t max = p->dtls->plaintext_max;
        for (int round = 0; round < 3; round++) {
            park(p);
            assert_string_equal(dtls_suite(p->dtls), suite);
            assert_int_equal(dtls_version(p->dtls), VERSION_1_2);
            assert_int_equal(p->dtls->plaintext_max, max);
            assert_int_equal(p->to_client.count, 0);
            assert_both_ways(p, "there and back");
            park(p);
            park(p);
            assert_both_ways(p, "and again");
        }
        park(p);
        memory_client_close(p->client);
        dtls_pair_talk(p);
        assert_int_equal(p->event, DTLS_CLOSED);
        dtls_send_close_notify(p->dtls);
        assert_int_equal(p->to_client.count, 1);
    }
}

static void gate_may_close_it(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        park(p);
        dtls_send_close_notify(p->dtls);
        dtls_pair_talk(p);
        assert_int_equal(p->client->state, CLIENT_CLOSED);
    }
}

/* The same plaintext makes the same record: number, nonce, connection ID and all. */
static void a_twin_writes_the_same_bytes(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        assert_both_ways(p, "some traffic");
        assert_true(dtls_export(p->dtls, &state));
        struct dtls *twin = import(p);
        for (int round = 0; round < 3; round++) {
            gate_sends(p->dtls, "the same");
            gate_sends(twin, "the same");
            assert_int_equal(p->to_client.count, 2);
            assert_int_equal(p->to_client.at[0].len, p->to_client.at[1].len);
            assert_memory_equal(p->to_client.at[0].data, p->to_client.at[1].data,
                                p->to_client.at[0].len);
            dtls_pair_empty(&p->to_client);
        }
        dtls_free(twin);
    }
}

/* What came before is not new afterwards; what is late still comes in; forged records do not. */
static void window_is_kept(void **test)
{
    enum { RECORDS = 100, WINDOW = 64 };
    static uint8_t records[RECORDS][RECORD_MAX];
    size_t lens[RECORDS];
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        for (int j = 0; j < RECORDS; j++)
            lens[j] = memory_client_seal(p->client, TYPE_APPLICATION_DATA, "text", 4, records[j],
                                         RECORD_MAX);
        for (int j = 0; j < RECORDS; j += 2) {
            dtls_pair_feed(p, records[j], lens[j]);
            assert_int_equal(dtls_discarded(p->dtls), 0);
        }
        struct dtls_record_number newest = dtls_newest(p->dtls);
        park(p);
        assert_int_equal(dtls_newest(p->dtls).epoch, newest.epoch);
        assert_int_equal(dtls_newest(p->dtls).next, newest.next);
        for (int j = RECORDS - 1; j >= 0; j--) {
            bool is_new = j % 2 == 1 && j > RECORDS - WINDOW;
            uint32_t before = p->plaintexts;
            if (is_new) {
                records[j][lens[j] - 1] ^= 1;
                dtls_pair_feed(p, records[j], lens[j]);
                assert_int_equal(dtls_discarded(p->dtls), 1);
                records[j][lens[j] - 1] ^= 1;
            }
            dtls_pair_feed(p, records[j], lens[j]);
            assert_int_equal(p->plaintexts, before + is_new);
            assert_int_equal(dtls_discarded(p->dtls), !is_new);
            if (j % 10 == 0)
                park(p);
        }
    }
}

/* The longest record that was agreed on is still the longest. */
static void max_fragment_length_is_kept(void **test)
{
    struct dtls_pair *p = *test;
    static uint8_t data[1024], record[2048];
    dtls_pair_meet_well(p, &kinds[11]);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(dtls_send(p->dtls, data, 512), DTLS_SENT);
        assert_int_equal(dtls_send(p->dtls, data, 513), DTLS_TOO_LARGE);
        uint32_t before = p->plaintexts;
        size_t len = memory_client_seal(p->client, TYPE_APPLICATION_DATA, data, 1024, record,
                                        sizeof(record));
        if (len != 0)
            dtls_pair_feed(p, record, len);
        assert_int_equal(p->plaintexts, before);
        park(p);
    }
}

static void renegotiation_is_refused_afterwards(void **test)
{
    struct dtls_pair *p = *test;
    static const uint8_t hello[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    uint8_t record[RECORD_MAX];
    dtls_pair_meet_well(p, &kinds[13]);
    park(p);
    size_t len = memory_client_seal(p->client, 22, hello, sizeof(hello), record, sizeof(record));
    dtls_pair_feed(p, record, len);
    assert_int_equal(p->event, DTLS_DONE);
    assert_true(p->dtls->has_refused);
    dtls_pair_empty(&p->to_client);
    assert_both_ways(p, "and goes on");
}

/* The export of 1.3 is without its keys in this library; when it has them this test says so. */
static void library_is_asked(void **test)
{
    struct dtls_pair *p = *test;
    static const struct client_kind kinds_13[] = {
        {.name = "1.3 psk",
         .version = VERSION_1_3,
         .identity = "device1",
         .key = "0123456789abcdef",
         .suites = "TLS13-AES128-GCM-SHA256",
         .has_small_hello = true},
        {.name = "1.3 certificate",
         .version = VERSION_1_3,
         .certificate = "device",
         .suites = "TLS13-CHACHA20-POLY1305-SHA256",
         .has_small_hello = true,
         .has_cid = true,
         .cid_bytes = 5},
    };
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        assert_int_equal(can_park(p, VERSION_1_2), DTLS_CAN_PARK_YES);
        assert_both_ways(p, "nothing has changed");
    }
    for (int i = 0; i < 2; i++) {
        dtls_pair_meet_well(p, &kinds_13[i]);
        assert_both_ways(p, "in use");
        assert_int_equal(can_park(p, VERSION_1_3), DTLS_CAN_PARK_NO);
        assert_int_equal(p->to_client.count, 0);
        assert_both_ways(p, "nothing has changed");
    }
}

static void handshake_is_not_exported(void **test)
{
    struct dtls_pair *p = *test;
    dtls_pair_meet_briefly(p, &kinds[0]);
    assert_false(dtls_export(p->dtls, &state));
    assert_int_equal(can_park(p, VERSION_1_2), DTLS_CAN_PARK_UNKNOWN);
}

/* Most of it is common; what is not is small. */
static void state_is_small(void **test)
{
    struct dtls_pair *p = *test;
    for (int i = 0; i < KINDS; i++) {
        dtls_pair_meet_well(p, &kinds[i]);
        assert_true(dtls_export(p->dtls, &state));
        assert_in_range(state.common_len, 80, DTLS_EXPORT_COMMON_MAX);
        assert_in_range(state.len - state.common_len, 150, 400);
    }
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, dtls_pair_set_up, dtls_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(session_goes_on),
        PAIR_TEST(gate_may_close_it),
        PAIR_TEST(a_twin_writes_the_same_bytes),
        PAIR_TEST(window_is_kept),
        PAIR_TEST(max_fragment_length_is_kept),
        PAIR_TEST(renegotiation_is_refused_afterwards),
        PAIR_TEST(library_is_asked),
        PAIR_TEST(handshake_is_not_exported),
        PAIR_TEST(state_is_small),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("dtls_park", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
