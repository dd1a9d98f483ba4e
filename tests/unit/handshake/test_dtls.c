/* dtls.c: one session's object, driven against a client in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "gate/dtls_pair.h"
#include "gate/gate_wolfssl.h"

enum { TYPE_APPLICATION_DATA = 23, TYPE_ALERT = 21 };

#define PSK .identity = "device1", .key = "0123456789abcdef"
#define SMALL_13 .version = VERSION_1_3, .has_small_hello = true

struct way {
    struct client_kind kind;
    enum credential credential;
    const char *suite;
    const char *identity;
};

static const struct way ways[] = {
    {{.name = "1.2 ccm-8", .version = VERSION_1_2, .suites = "PSK-AES128-CCM-8", PSK},
     CREDENTIAL_PSK,
     "TLS_PSK_WITH_AES_128_CCM_8",
     "device1"},
    {{.name = "1.2 ccm", .version = VERSION_1_2, .suites = "PSK-AES128-CCM", PSK},
     CREDENTIAL_PSK,
     "TLS_PSK_WITH_AES_128_CCM",
     "device1"},
    {{.name = "1.2 gcm", .version = VERSION_1_2, .suites = "PSK-AES128-GCM-SHA256", PSK},
     CREDENTIAL_PSK,
     "TLS_PSK_WITH_AES_128_GCM_SHA256",
     "device1"},
    {{.name = "1.2 ecdsa ccm-8",
      .version = VERSION_1_2,
      .suites = "ECDHE-ECDSA-AES128-CCM-8",
      .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
     "device1"},
    {{.name = "1.2 ecdsa chacha",
      .version = VERSION_1_2,
      .suites = "ECDHE-ECDSA-CHACHA20-POLY1305",
      .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
     "device1"},
    {{.name = "1.3 psk gcm", SMALL_13, .suites = "TLS13-AES128-GCM-SHA256", PSK},
     CREDENTIAL_PSK,
     "TLS_AES_128_GCM_SHA256",
     "device1"},
    {{.name = "1.3 psk chacha", SMALL_13, .suites = "TLS13-CHACHA20-POLY1305-SHA256", PSK},
     CREDENTIAL_PSK,
     "TLS_CHACHA20_POLY1305_SHA256",
     "device1"},
    {{.name = "1.3 psk ccm", SMALL_13, .suites = "TLS13-AES128-CCM-SHA256", PSK},
     CREDENTIAL_PSK,
     "TLS_AES_128_CCM_SHA256",
     "device1"},
    {{.name = "1.3 psk ccm-8", SMALL_13, .suites = "TLS13-AES128-CCM-8-SHA256", PSK},
     CREDENTIAL_PSK,
     "TLS_AES_128_CCM_8_SHA256",
     "device1"},
    {{.name = "1.3 certificate",
      SMALL_13,
      .suites = "TLS13-CHACHA20-POLY1305-SHA256",
      .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "TLS_CHACHA20_POLY1305_SHA256",
     "device1"},
    {{.name = "long identity and key, 1.2",
      .version = VERSION_1_2,
      .suites = "PSK-AES128-CCM-8",
      .identity = LONG_IDENTITY,
      .key = LONG_KEY},
     CREDENTIAL_PSK,
     "TLS_PSK_WITH_AES_128_CCM_8",
     LONG_IDENTITY},
    {{.name = "long identity and key, 1.3",
      SMALL_13,
      .suites = "TLS13-AES128-GCM-SHA256",
      .identity = LONG_IDENTITY,
      .key = LONG_KEY},
     CREDENTIAL_PSK,
     "TLS_AES_128_GCM_SHA256",
     LONG_IDENTITY},
    {{.name = "short identity and key",
      .version = VERSION_1_2,
      .suites = "PSK-AES128-CCM-8",
      .identity = SHORT_IDENTITY,
      .key = SHORT_KEY},
     CREDENTIAL_PSK,
     "TLS_PSK_WITH_AES_128_CCM_8",
     SHORT_IDENTITY},
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

/* ---- tests ------------------------------------------------------------------------------------
 */

static void every_suite_tells_who_came_and_how(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        const struct way *way = &ways[i];
        dtls_pair_meet_well(p, &way->kind);
        assert_int_equal(dtls_version(p->dtls), way->kind.version);
        assert_string_equal(dtls_suite(p->dtls), way->suite);
        assert_int_equal(dtls_credential(p->dtls), way->credential);
        assert_int_equal(p->dtls->peer->identity_len, strlen(way->identity));
        assert_memory_equal(p->dtls->peer->identity, way->identity, strlen(way->identity));
        dtls_forget_peer(p->dtls);
        assert_null(p->dtls->peer);
        assert_int_equal(dtls_credential(p->dtls) == CREDENTIAL_PSK,
                         way->credential == CREDENTIAL_PSK);
    }
}

/* An identity that is one byte longer or shorter, or has another end, is another identity. */
static void identities_match_whole(void **state)
{
    static const char *const others[] = {"device", "device11", "Device1", "device1\n",
                                         LONG_IDENTITY "x"};
    struct dtls_pair *p = *state;
    for (int i = 0; i < 5; i++) {
        const struct client_kind kind = {.name = others[i],
                                         .version = VERSION_1_2,
                                         .suites = "PSK-AES128-CCM-8",
                                         .identity = others[i],
                                         .key = "0123456789abcdef"};
        const char *detail;
        dtls_pair_meet(p, &kind);
        assert_int_equal(p->event, DTLS_FAILED);
        assert_int_equal(dtls_failure(p->dtls, &detail), HANDSHAKE_unknown_identity);
        assert_int_equal(p->client->state, CLIENT_BROKEN);
    }
}

static void fresh_object_knows_nothing(void **state)
{
    struct dtls_pair *p = *state;
    const char *detail;
    uint8_t room[16];
    size_t len;
    p->dtls = dtls_new(&p->generation->listeners[0]);
    assert_non_null(p->dtls);
    dtls_set_sender(p->dtls, dtls_pair_gate_sends, p);
    assert_int_equal(dtls_version(p->dtls), VERSION_UNKNOWN);
    assert_int_equal(dtls_credential(p->dtls), CREDENTIAL_NONE);
    assert_int_equal(dtls_failure(p->dtls, &detail), HANDSHAKE_timeout);
    assert_int_equal(dtls_next(p->dtls, room, &len), DTLS_DONE);
    assert_int_equal(dtls_send(p->dtls, room, 1), DTLS_TOO_LARGE);
    dtls_send_close_notify(p->dtls);
    assert_true(dtls_on_timeout(p->dtls));
    assert_int_equal(p->to_client.count, 0);
    assert_string_not_equal(dtls_library_version(), "");
}

static void one_datagram_for_each_send(void **state)
{
    struct dtls_pair *p = *state;
    uint8_t *data = calloc(1, UINT16_MAX);
    assert_non_null(data);
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_well(p, &ways[i].kind);
        size_t max = p->dtls->plaintext_max;
        const size_t sizes[] = {1, 1280, max};
        for (int j = 0; j < 3; j++) {
            assert_int_equal(dtls_send(p->dtls, data, sizes[j]), DTLS_SENT);
            assert_int_equal(p->to_client.count, 1);
            dtls_pair_talk(p);
            assert_int_equal(memory_client_last(p->client).len, sizes[j]);
        }
        assert_int_equal(dtls_send(p->dtls, data, max + 1), DTLS_TOO_LARGE);
        assert_int_equal(dtls_send(p->dtls, data, UINT16_MAX), DTLS_TOO_LARGE);
        assert_int_equal(p->to_client.count, 0);
    }
    free(data);
}

/* Discarded is what is not authentic or not new; the count is of one datagram. */
static void discarded_records_are_told(void **state)
{
    struct dtls_pair *p = *state;
    uint8_t record[256], forged[256];
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_well(p, &ways[i].kind);
        size_t len =
            memory_client_seal(p->client, TYPE_APPLICATION_DATA, "text", 4, record, sizeof(record));
        memcpy(forged, record, len);
        forged[len - 1] ^= 1;
        dtls_pair_feed(p, forged, len);
        assert_int_equal(p->event, DTLS_DONE);
        assert_int_equal(dtls_discarded(p->dtls), 1);
        assert_int_equal(p->plaintexts, 0);
        dtls_pair_feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 0);
        assert_int_equal(p->plaintexts, 1);
        assert_memory_equal(p->plaintext.data, "text", 4);
        dtls_pair_feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 1);
        assert_int_equal(p->plaintexts, 1);
        /* Several at once. */
        len = 0;
        for (int j = 0; j < 5; j++)
            len += memory_client_seal(p->client, TYPE_APPLICATION_DATA, "text", 4, record + len,
                                      sizeof(record) - len);
        dtls_pair_feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 0);
        assert_int_equal(p->plaintexts, 6);
    }
}

static void ends_are_told_apart(void **state)
{
    static const uint8_t fatal[] = {2, 80};
    struct dtls_pair *p = *state;
    uint8_t record[256];
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_well(p, &ways[i].kind);
        memory_client_close(p->client);
        assert_int_equal(p->to_gate.count, 1);
        dtls_pair_feed(p, p->to_gate.at[0].data, p->to_gate.at[0].len);
        assert_int_equal(p->event, DTLS_CLOSED);
        dtls_send_close_notify(p->dtls);
        assert_int_equal(p->to_client.count, 1);

        dtls_pair_meet_well(p, &ways[i].kind);
        size_t len = memory_client_seal(p->client, TYPE_ALERT, fatal, 2, record, sizeof(record));
        dtls_pair_feed(p, record, len);
        assert_int_equal(p->event, DTLS_ALERTED);

        dtls_pair_meet_well(p, &ways[i].kind);
        dtls_send_close_notify(p->dtls);
        dtls_pair_talk(p);
        assert_int_equal(p->client->state, CLIENT_CLOSED);
    }
}

/* A flight is sent again when its time is over, as often as is asked for. */
static void flights_are_repeated(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_briefly(p, &ways[i].kind);
        uint32_t flight = p->to_client.count;
        assert_true(flight > 0);
        for (uint64_t round = 1; round <= 12; round++) {
            dtls_pair_empty(&p->to_client);
            fake_system_set_ms(round * 60000);
            if (dtls_wants_quick_timeout(p->dtls))
                assert_true(dtls_on_timeout(p->dtls)); /* an ACK comes first */
            dtls_pair_empty(&p->to_client);
            assert_true(dtls_on_timeout(p->dtls));
            assert_int_equal(p->to_client.count, flight);
        }
    }
}

static void without_memory_there_is_no_object(void **state)
{
    struct dtls_pair *p = *state;
    uint64_t blocks = gate_wolfssl_blocks();
    bool was_made = false;
    for (uint32_t i = 0; !was_made; i++) {
        gate_wolfssl_fail_after(i);
        struct dtls *dtls = dtls_new(&p->generation->listeners[0]);
        gate_wolfssl_fail_after(UINT32_MAX);
        was_made = dtls != NULL;
        dtls_free(dtls);
        assert_int_equal(gate_wolfssl_blocks(), blocks);
    }
    dtls_free(NULL);
}

/* Of the gate's object alone: the client is freed before. */
static void session_takes_no_more_than_it_needs(void **state)
{
    enum { LIVE_MAX = 7000, LIVE_MAX_13 = 9000 };
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_well(p, &ways[i].kind);
        memory_client_free(p->client);
        p->client = NULL;
        dtls_forget_handshake(p->dtls);
        uint64_t before = gate_wolfssl_bytes();
        dtls_free(p->dtls);
        p->dtls = NULL;
        uint64_t bytes = before - gate_wolfssl_bytes();
        bool is_1_3 = ways[i].kind.version == VERSION_1_3;
        if (bytes > (is_1_3 ? LIVE_MAX_13 : LIVE_MAX))
            fail_msg("%s: %u bytes", ways[i].kind.name, (unsigned)bytes);
    }
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, dtls_pair_set_up, dtls_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(every_suite_tells_who_came_and_how),
        PAIR_TEST(identities_match_whole),
        PAIR_TEST(fresh_object_knows_nothing),
        PAIR_TEST(one_datagram_for_each_send),
        PAIR_TEST(discarded_records_are_told),
        PAIR_TEST(ends_are_told_apart),
        PAIR_TEST(flights_are_repeated),
        PAIR_TEST(session_takes_no_more_than_it_needs),
        PAIR_TEST(without_memory_there_is_no_object),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("dtls", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
