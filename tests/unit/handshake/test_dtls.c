/* dtls.c: one handshake's object, driven against a client in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/fake_system.h"
#include "gate/client_kinds.h"
#include "gate/dtls_pair.h"
#include "gate/gate_wolfssl.h"

struct way {
    const char *kind;
    enum credential credential;
    const char *suite;
};

static const struct way ways[] = {
    {"1.2 psk ccm-8", CREDENTIAL_PSK, "TLS_PSK_WITH_AES_128_CCM_8"},
    {"1.2 psk ccm", CREDENTIAL_PSK, "TLS_PSK_WITH_AES_128_CCM"},
    {"1.2 psk gcm", CREDENTIAL_PSK, "TLS_PSK_WITH_AES_128_GCM_SHA256"},
    {"1.2 certificate", CREDENTIAL_CERTIFICATE, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"},
    {"1.2 certificate chacha", CREDENTIAL_CERTIFICATE,
     "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    {"1.3 psk", CREDENTIAL_PSK, "TLS_AES_128_GCM_SHA256"},
    {"1.3 psk chacha", CREDENTIAL_PSK, "TLS_CHACHA20_POLY1305_SHA256"},
    {"1.3 psk ccm", CREDENTIAL_PSK, "TLS_AES_128_CCM_SHA256"},
    {"1.3 psk ccm-8", CREDENTIAL_PSK, "TLS_AES_128_CCM_8_SHA256"},
    {"1.3 certificate chacha", CREDENTIAL_CERTIFICATE, "TLS_CHACHA20_POLY1305_SHA256"},
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

/* ---- tests ------------------------------------------------------------------------------------
 */

/* Of the key that the device has; of its certificate: its public key, itself, its CA. */
static void assert_digests(const struct dtls *dtls, const struct client_kind *kind)
{
    const struct credential_digests *digests = &dtls->peer->digests;
    uint8_t digest[CREDENTIAL_DIGEST_BYTES];
    if (kind->certificate != NULL) {
        assert_int_equal(digests->count, 3);
        return;
    }
    assert_int_equal(digests->count, 1);
    assert_true(
        credential_digest_psk((struct der){(const uint8_t *)kind->identity, strlen(kind->identity)},
                              (struct der){(const uint8_t *)kind->key, strlen(kind->key)}, digest));
    assert_memory_equal(digests->at[0], digest, sizeof(digest));
}

/* The common name of its certificate is its identity, too. */
static void assert_comes_in(struct dtls_pair *p, const struct client_kind *kind)
{
    const char *identity = kind->certificate != NULL ? IDENTITY : kind->identity;
    dtls_pair_meet_well(p, kind);
    assert_int_equal(dtls_version(p->dtls), kind->version);
    assert_int_equal(p->dtls->peer->identity_len, strlen(identity));
    assert_memory_equal(p->dtls->peer->identity, identity, strlen(identity));
    assert_digests(p->dtls, kind);
    assert_false(dtls_is_resumed(p->dtls));
    assert_false(dtls_has_sent_alert(p->dtls));
}

static void every_suite_tells_who_came_and_how(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        assert_comes_in(p, gate_kind(ways[i].kind));
        assert_string_equal(dtls_suite(p->dtls), ways[i].suite);
        assert_int_equal(dtls_credential(p->dtls), ways[i].credential);
    }
}

static void identities_and_keys_are_of_any_length(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.3 psk"};
    struct dtls_pair *p = *state;
    for (int i = 0; i < 4; i++) {
        struct client_kind kind = *gate_kind(kinds[i / 2]);
        kind.identity = i % 2 == 0 ? LONG_IDENTITY : SHORT_IDENTITY;
        kind.key = i % 2 == 0 ? LONG_KEY : SHORT_KEY;
        assert_comes_in(p, &kind);
        assert_int_equal(dtls_credential(p->dtls), CREDENTIAL_PSK);
    }
}

/* An identity that is one byte longer or shorter, or has another end, is another identity. */
static void identities_match_whole(void **state)
{
    static const char *const others[] = {"device", "device11", "Device1", "device1\n",
                                         LONG_IDENTITY "x"};
    struct dtls_pair *p = *state;
    for (int i = 0; i < 5; i++) {
        struct client_kind kind = *gate_kind("1.2 psk ccm-8");
        kind.identity = others[i];
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
    size_t len = 1;
    p->dtls = dtls_new(&p->generation->listeners[0]);
    assert_non_null(p->dtls);
    dtls_set_sender(p->dtls, dtls_pair_gate_sends, p);
    assert_int_equal(dtls_version(p->dtls), VERSION_UNKNOWN);
    assert_int_equal(dtls_credential(p->dtls), CREDENTIAL_NONE);
    assert_int_equal(dtls_failure(p->dtls, &detail), HANDSHAKE_timeout);
    assert_int_equal(dtls_accept(p->dtls), DTLS_GOES_ON);
    assert_null(dtls_rest(p->dtls, &len));
    assert_int_equal(len, 0);
    assert_false(dtls_has_cid(p->dtls));
    assert_false(dtls_was_ack(p->dtls));
    assert_false(dtls_has_unreadable(p->dtls));
    assert_true(dtls_on_timeout(p->dtls));
    assert_int_equal(p->to_client.count, 0);
    assert_string_not_equal(dtls_library_version(), "");
}

/* All but the last datagram of the device's last flight has been fed; that one, with its Finished,
 * is returned, to be freed by the caller. */
static struct client_message before_the_finished(struct dtls_pair *p,
                                                 const struct client_kind *kind)
{
    dtls_pair_meet_briefly(p, kind);
    for (uint32_t i = 0; i < p->to_client.count; i++)
        memory_client_receive(p->client, p->to_client.at[i].data, p->to_client.at[i].len, 0);
    dtls_pair_empty(&p->to_client);
    assert_true(p->to_gate.count != 0);
    struct client_message last = p->to_gate.at[--p->to_gate.count];
    for (uint32_t i = 0; i < p->to_gate.count; i++)
        dtls_pair_feed(p, p->to_gate.at[i].data, p->to_gate.at[i].len);
    dtls_pair_empty(&p->to_gate);
    assert_false(p->was_established);
    return last;
}

/* T1. What stands behind the Finished is the session's, whatever it is: here a record of data. */
static void what_is_behind_the_finished_is_left(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        static const uint8_t record12[13 + 24] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 24};
        const uint8_t *data = record12;
        size_t data_len = sizeof(record12);
        struct client_message finished = before_the_finished(p, gate_kind(ways[i].kind));
        if (gate_kind(ways[i].kind)->version ==
            VERSION_1_3) { /* the device may use its session already */
            assert_true(memory_client_send(p->client, "early", 5));
            assert_int_equal(p->to_gate.count, 1);
            data = p->to_gate.at[0].data;
            data_len = p->to_gate.at[0].len;
        }
        uint8_t *both = malloc(finished.len + data_len);
        assert_non_null(both);
        memcpy(both, finished.data, finished.len);
        memcpy(both + finished.len, data, data_len);
        dtls_pair_feed(p, both, finished.len + data_len);
        assert_int_equal(p->event, DTLS_ESTABLISHED);
        assert_int_equal(p->rest_len, data_len);
        assert_int_equal(dtls_discarded(p->dtls), 0);
        free(both);
        free(finished.data);
    }
}

/* T1, T2. Data of DTLS 1.3 that overtakes the Finished, alone or before it in the same datagram, is
 * never the library's: it has no keys for it, or worse, has them. The handshake goes on. */
static void the_library_never_gets_a_record_of_epoch_3(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        if (gate_kind(ways[i].kind)->version != VERSION_1_3)
            continue;
        struct client_message finished = before_the_finished(p, gate_kind(ways[i].kind));
        assert_true(memory_client_send(p->client, "early", 5));
        assert_int_equal(p->to_gate.count, 1);
        const struct client_message *data = &p->to_gate.at[0];
        assert_int_equal(data->data[0] & 0xe3, 0x23);
        for (int round = 0; round < 3; round++) {
            dtls_pair_feed(p, data->data, data->len);
            assert_int_equal(p->event, DTLS_GOES_ON);
            assert_int_equal(p->rest_len, data->len);
        }
        uint8_t *both = malloc(finished.len + data->len);
        assert_non_null(both);
        memcpy(both, data->data, data->len);
        memcpy(both + data->len, finished.data, finished.len);
        dtls_pair_feed(p, both, finished.len + data->len);
        assert_int_equal(p->event, DTLS_GOES_ON);
        assert_int_equal(p->rest_len, finished.len + data->len);
        assert_false(dtls_has_unreadable(p->dtls));
        assert_int_equal(p->to_client.count, 0);
        dtls_pair_feed(p, finished.data, finished.len);
        assert_int_equal(p->event, DTLS_ESTABLISHED);
        assert_int_equal(p->rest_len, 0);
        free(both);
        free(finished.data);
    }
}

/* Discarded is what is not authentic or not new; the count is of one datagram. */
static void discarded_records_are_told(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        struct client_message finished = before_the_finished(p, gate_kind(ways[i].kind));
        for (int round = 0; round < 3; round++) {
            finished.data[finished.len - 1] ^= 1;
            dtls_pair_feed(p, finished.data, finished.len);
            finished.data[finished.len - 1] ^= 1;
            assert_int_equal(p->event, DTLS_GOES_ON);
            assert_true(dtls_discarded(p->dtls) != 0);
            assert_true(dtls_has_unreadable(p->dtls));
        }
        dtls_pair_feed(p, finished.data, finished.len);
        assert_int_equal(p->event, DTLS_ESTABLISHED);
        free(finished.data);
    }
}

/* A flight is sent again when its time is over, as often as is asked for. */
static void flights_are_repeated(void **state)
{
    struct dtls_pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        dtls_pair_meet_briefly(p, gate_kind(ways[i].kind));
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

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, dtls_pair_set_up, dtls_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(every_suite_tells_who_came_and_how),
        PAIR_TEST(identities_and_keys_are_of_any_length),
        PAIR_TEST(identities_match_whole),
        PAIR_TEST(fresh_object_knows_nothing),
        PAIR_TEST(what_is_behind_the_finished_is_left),
        PAIR_TEST(the_library_never_gets_a_record_of_epoch_3),
        PAIR_TEST(discarded_records_are_told),
        PAIR_TEST(flights_are_repeated),
        PAIR_TEST(without_memory_there_is_no_object),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("dtls", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
