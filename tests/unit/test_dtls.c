/* dtls.c: one session's object, driven against a client in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "classify.h"
#include "cookie.h"
#include "fake_network.h"
#include "fake_system.h"
#include "gate_keys.h"
#include "gate_wolfssl.h"
#include "memory_client.h"
#include "reload.h"

enum { QUEUE_MAX = 64, TYPE_APPLICATION_DATA = 23, TYPE_ALERT = 21 };

#define LONG_IDENTITY                                                  \
    "0123456789012345678901234567890123456789012345678901234567890123" \
    "urn:dev:ops:0123456789:\xc3\xa4\xc3\xb6\xc3\xbc-0123456789012345678901234567"
#define LONG_KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHORT_IDENTITY "1"
#define SHORT_KEY "k"

#define SETTINGS                                                                               \
    "[gate]\nmetrics =\n[listener coaps]\nlisten = 192.0.2.1:5684\nbackend = 127.0.0.1:5683\n" \
    "certificate = server.pem\nprivate_key = server.key\nclient_ca = ca.pem\n"

static const struct addr home = {.ip = {198, 51, 100, 1}, .port = 5000, .family = AF_INET};

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

struct datagrams {
    struct client_message at[QUEUE_MAX];
    uint32_t count;
};

/* A client and the gate's object for it, with what they have sent and not yet read. */
struct pair {
    struct generation *generation;
    struct cookie_front front;
    struct memory_client *client;
    struct dtls *dtls;
    struct datagrams to_gate, to_client;
    enum dtls_event event; /* the last one but DTLS_PLAINTEXT */
    bool was_established;
    struct client_message plaintext; /* received last */
    uint32_t plaintexts;
};

/* ---- the pair ---------------------------------------------------------------------------------
 */

static void put(struct datagrams *queue, const uint8_t *data, size_t len)
{
    assert_true(queue->count < QUEUE_MAX);
    queue->at[queue->count++] = (struct client_message){fake_network_copy(data, len), len};
}

static void empty(struct datagrams *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        free(queue->at[i].data);
    queue->count = 0;
}

static void client_sends(void *context, const uint8_t *datagram, size_t len)
{
    struct pair *p = context;
    put(&p->to_gate, datagram, len);
}

static void gate_sends(void *owner, const uint8_t *datagram, size_t len)
{
    struct pair *p = owner;
    put(&p->to_client, datagram, len);
}

static void write_psk(FILE *out, const char *identity, const char *key)
{
    fprintf(out, "%s:", identity);
    for (const char *c = key; *c != '\0'; c++)
        fprintf(out, "%02x", (unsigned char)*c);
    fprintf(out, "\n");
}

static struct generation *build(void)
{
    char path[512], psks[512], ini[1024];
    struct problems problems;
    snprintf(psks, sizeof(psks), "%s/%d.psk", gate_keys(), (int)getpid());
    FILE *out = fopen(psks, "w");
    assert_non_null(out);
    write_psk(out, "device1", "0123456789abcdef");
    write_psk(out, LONG_IDENTITY, LONG_KEY);
    write_psk(out, SHORT_IDENTITY, SHORT_KEY);
    fclose(out);
    snprintf(ini, sizeof(ini), "%spsk_file = %d.psk\n", SETTINGS, (int)getpid());
    gate_keys_write_ini(ini, path, sizeof(path));
    problems_init(&problems);
    struct generation *generation = reload_build(path, &problems);
    for (uint32_t i = 0; generation == NULL && i < problems.count; i++)
        fprintf(stderr, "  %s\n", problems.texts[i]);
    problems_deinit(&problems);
    unlink(path);
    unlink(psks);
    return generation;
}

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    fake_system_seed(1);
    if (p == NULL || (p->generation = build()) == NULL)
        return -1;
    cookie_init(&p->front, &p->generation->listeners[0], p->generation->cookie_master);
    *state = p;
    return 0;
}

static void part(struct pair *p)
{
    empty(&p->to_gate);
    empty(&p->to_client);
    memory_client_free(p->client);
    dtls_free(p->dtls);
    free(p->plaintext.data);
    p->client = NULL;
    p->dtls = NULL;
    p->plaintext = (struct client_message){NULL, 0};
    p->plaintexts = 0;
    p->was_established = false;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    part(p);
    cookie_deinit(&p->front);
    reload_release(p->generation);
    free(p);
    return 0;
}

/* Runs the object until it has used up the datagram. */
static void feed(struct pair *p, const uint8_t *data, size_t len)
{
    uint8_t *copy = fake_network_copy(data, len);
    uint8_t *room = malloc(DTLS_PLAINTEXT_MAX);
    size_t plaintext_len = 0;
    assert_non_null(room);
    dtls_feed(p->dtls, copy, len);
    do {
        p->event = dtls_next(p->dtls, room, &plaintext_len);
        p->was_established = p->was_established || p->event == DTLS_ESTABLISHED;
        if (p->event == DTLS_PLAINTEXT) {
            free(p->plaintext.data);
            p->plaintext.data = fake_network_copy(room, plaintext_len);
            p->plaintext.len = plaintext_len;
            p->plaintexts++;
        }
    } while (p->event == DTLS_PLAINTEXT || p->event == DTLS_ESTABLISHED);
    free(room);
    free(copy);
}

/* Before there is an object: by way of the cookie. */
static void to_front(struct pair *p, const uint8_t *data, size_t len)
{
    struct classified kind = classify(data, len);
    struct cookie_result result =
        cookie_check(&p->front, &home, data, kind.usable_len, kind.has_cookie, 0);
    if (result.verdict == COOKIE_ANSWER) {
        put(&p->to_client, result.reply, result.reply_len);
        return;
    }
    assert_int_equal(result.verdict, COOKIE_GOOD);
    p->dtls = result.dtls;
    dtls_set_sender(p->dtls, gate_sends, p);
    uint8_t room[16];
    size_t plaintext_len;
    p->event = dtls_next(p->dtls, room, &plaintext_len);
}

/* Lets both talk until neither has more to say. */
static void talk(struct pair *p)
{
    while (p->to_gate.count + p->to_client.count > 0) {
        struct datagrams from_client = p->to_gate, from_gate = p->to_client;
        p->to_gate.count = p->to_client.count = 0;
        for (uint32_t i = 0; i < from_client.count; i++) {
            if (p->dtls == NULL)
                to_front(p, from_client.at[i].data, from_client.at[i].len);
            else
                feed(p, from_client.at[i].data, from_client.at[i].len);
        }
        for (uint32_t i = 0; i < from_gate.count; i++)
            memory_client_receive(p->client, from_gate.at[i].data, from_gate.at[i].len, 0);
        empty(&from_client);
        empty(&from_gate);
    }
}

static void meet(struct pair *p, const struct client_kind *kind)
{
    part(p);
    p->client = memory_client_new(kind, gate_keys(), client_sends, p);
    assert_non_null(p->client);
    memory_client_connect(p->client, 0);
    talk(p);
}

static void meet_well(struct pair *p, const struct client_kind *kind)
{
    meet(p, kind);
    if (p->client->state != CLIENT_UP || !p->was_established)
        fail_msg("%s: client state %d, error %d, event %d", kind->name, p->client->state,
                 p->client->error, p->event);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void every_suite_tells_who_came_and_how(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        const struct way *way = &ways[i];
        meet_well(p, &way->kind);
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
    struct pair *p = *state;
    for (int i = 0; i < 5; i++) {
        const struct client_kind kind = {.name = others[i],
                                         .version = VERSION_1_2,
                                         .suites = "PSK-AES128-CCM-8",
                                         .identity = others[i],
                                         .key = "0123456789abcdef"};
        const char *detail;
        meet(p, &kind);
        assert_int_equal(p->event, DTLS_FAILED);
        assert_int_equal(dtls_failure(p->dtls, &detail), HANDSHAKE_unknown_identity);
        assert_int_equal(p->client->state, CLIENT_BROKEN);
    }
}

static void fresh_object_knows_nothing(void **state)
{
    struct pair *p = *state;
    const char *detail;
    uint8_t room[16];
    size_t len;
    p->dtls = dtls_new(&p->generation->listeners[0]);
    assert_non_null(p->dtls);
    dtls_set_sender(p->dtls, gate_sends, p);
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
    struct pair *p = *state;
    uint8_t *data = calloc(1, UINT16_MAX);
    assert_non_null(data);
    for (int i = 0; i < WAYS; i++) {
        meet_well(p, &ways[i].kind);
        size_t max = p->dtls->plaintext_max;
        const size_t sizes[] = {1, 1280, max};
        for (int j = 0; j < 3; j++) {
            assert_int_equal(dtls_send(p->dtls, data, sizes[j]), DTLS_SENT);
            assert_int_equal(p->to_client.count, 1);
            talk(p);
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
    struct pair *p = *state;
    uint8_t record[256], forged[256];
    for (int i = 0; i < WAYS; i++) {
        meet_well(p, &ways[i].kind);
        size_t len =
            memory_client_seal(p->client, TYPE_APPLICATION_DATA, "text", 4, record, sizeof(record));
        memcpy(forged, record, len);
        forged[len - 1] ^= 1;
        feed(p, forged, len);
        assert_int_equal(p->event, DTLS_DONE);
        assert_int_equal(dtls_discarded(p->dtls), 1);
        assert_int_equal(p->plaintexts, 0);
        feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 0);
        assert_int_equal(p->plaintexts, 1);
        assert_memory_equal(p->plaintext.data, "text", 4);
        feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 1);
        assert_int_equal(p->plaintexts, 1);
        /* Several at once. */
        len = 0;
        for (int j = 0; j < 5; j++)
            len += memory_client_seal(p->client, TYPE_APPLICATION_DATA, "text", 4, record + len,
                                      sizeof(record) - len);
        feed(p, record, len);
        assert_int_equal(dtls_discarded(p->dtls), 0);
        assert_int_equal(p->plaintexts, 6);
    }
}

static void ends_are_told_apart(void **state)
{
    static const uint8_t fatal[] = {2, 80};
    struct pair *p = *state;
    uint8_t record[256];
    for (int i = 0; i < WAYS; i++) {
        meet_well(p, &ways[i].kind);
        memory_client_close(p->client);
        assert_int_equal(p->to_gate.count, 1);
        feed(p, p->to_gate.at[0].data, p->to_gate.at[0].len);
        assert_int_equal(p->event, DTLS_CLOSED);
        dtls_send_close_notify(p->dtls);
        assert_int_equal(p->to_client.count, 1);

        meet_well(p, &ways[i].kind);
        size_t len = memory_client_seal(p->client, TYPE_ALERT, fatal, 2, record, sizeof(record));
        feed(p, record, len);
        assert_int_equal(p->event, DTLS_ALERTED);

        meet_well(p, &ways[i].kind);
        dtls_send_close_notify(p->dtls);
        talk(p);
        assert_int_equal(p->client->state, CLIENT_CLOSED);
    }
}

/* A flight is sent again when its time is over, as often as is asked for. */
static void flights_are_repeated(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < WAYS; i++) {
        part(p);
        p->client = memory_client_new(&ways[i].kind, gate_keys(), client_sends, p);
        assert_non_null(p->client);
        memory_client_connect(p->client, 0);
        while (p->dtls == NULL) { /* the cookie exchange alone */
            to_front(p, p->to_gate.at[0].data, p->to_gate.at[0].len);
            empty(&p->to_gate);
            if (p->dtls == NULL)
                memory_client_receive(p->client, p->to_client.at[0].data, p->to_client.at[0].len,
                                      0);
            if (p->dtls == NULL)
                empty(&p->to_client);
        }
        uint32_t flight = p->to_client.count;
        assert_true(flight > 0);
        for (uint64_t round = 1; round <= 12; round++) {
            empty(&p->to_client);
            fake_system_set_ms(round * 60000);
            if (dtls_wants_quick_timeout(p->dtls))
                assert_true(dtls_on_timeout(p->dtls)); /* an ACK comes first */
            empty(&p->to_client);
            assert_true(dtls_on_timeout(p->dtls));
            assert_int_equal(p->to_client.count, flight);
        }
    }
}

static void without_memory_there_is_no_object(void **state)
{
    struct pair *p = *state;
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

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

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
        PAIR_TEST(without_memory_there_is_no_object),
    };
    if (!gate_wolfssl_init())
        return 1;
    int failed = cmocka_run_group_tests_name("dtls", tests, NULL, NULL);
    dtls_library_deinit();
    return failed;
}
