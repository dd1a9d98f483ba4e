/* Who may enter under each policy: handshakes in memory of a wolfSSL client with the contexts that
 * creds.c makes. */
#include <wolfssl/options.h>

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>

#include "gate/creds_fixture.h"

#define DATAGRAMS_MAX 64
#define DATAGRAM_MAX 4096

/* One direction of a connection. */
struct wire {
    uint8_t bytes[DATAGRAMS_MAX][DATAGRAM_MAX];
    int sizes[DATAGRAMS_MAX];
    int sent, received;
};

struct ends {
    struct wire to_server, to_client;
};

struct side {
    struct wire *in, *out;
};

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct wire *wire = ((struct side *)context)->in;
    if (wire->received == wire->sent)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    int got = wire->sizes[wire->received];
    assert_true(got <= size);
    memcpy(buffer, wire->bytes[wire->received++], (size_t)got);
    return got;
}

static int send_datagram(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct wire *wire = ((struct side *)context)->out;
    assert_true(wire->sent < DATAGRAMS_MAX && size <= DATAGRAM_MAX);
    memcpy(wire->bytes[wire->sent], buffer, (size_t)size);
    wire->sizes[wire->sent++] = size;
    return size;
}

/* What a client is given and asks for. */
struct client {
    bool is_1_3;
    const char *identity;    /* NULL: no PSK */
    const char *certificate; /* name of .pem and .key; NULL: none */
    const char *ciphers;     /* NULL: wolfSSL's defaults for what it is given */
    const char *sni;
    bool has_wrong_key;
    WOLFSSL_SESSION **session; /* resumes it, or keeps the new one if it is NULL */
};

/* How a handshake ended, seen by the server. */
struct ended {
    bool is_up; /* for both */
    bool is_psk;
    bool is_resumed;
    bool had_certificate; /* a good one */
    int error;            /* of the server */
    int client_alert;     /* last one that the client received, or -1 */
    const char *suite;
};

static unsigned int find_key(const char *identity, unsigned char *key)
{
    if (strcmp(identity, IDENTITY) != 0 && strcmp(identity, IDENTITY32) != 0)
        return 0;
    for (unsigned i = 0; i < 16; i++)
        key[i] = (unsigned char)i;
    return 16;
}

static unsigned int server_psk(WOLFSSL *ssl, const char *identity, unsigned char *key,
                               unsigned int key_max)
{
    (void)ssl;
    assert_true(key_max >= 16);
    return find_key(identity, key);
}

static unsigned int server_psk_1_3(WOLFSSL *ssl, const char *identity, unsigned char *key,
                                   unsigned int key_max, const char **suite)
{
    *suite = "TLS13-AES128-GCM-SHA256";
    return server_psk(ssl, identity, key, key_max);
}

static unsigned int client_psk(WOLFSSL *ssl, const char *hint, char *identity,
                               unsigned int identity_max, unsigned char *key, unsigned int key_max)
{
    (void)hint;
    const struct client *client = wolfSSL_get_psk_callback_ctx(ssl);
    assert_true(strlen(client->identity) < identity_max && key_max >= 16);
    strcpy(identity, client->identity);
    if (find_key(client->identity, key) == 0)
        memset(key, 7, 16);
    key[3] ^= client->has_wrong_key;
    return 16;
}

static unsigned int client_psk_1_3(WOLFSSL *ssl, const char *hint, char *identity,
                                   unsigned int identity_max, unsigned char *key,
                                   unsigned int key_max, const char **suite)
{
    *suite = "TLS13-AES128-GCM-SHA256";
    return client_psk(ssl, hint, identity, identity_max, key, key_max);
}

static int good_certificates;
static const struct creds *judging; /* whose anchors count */

/* As dtls_certificate.c does it. */
static int judge(WOLFSSL *ssl, const WOLFSSL_BUFFER_INFO *shown, int count, int *alert)
{
    (void)ssl;
    struct certificate_verdict verdict;
    struct der ders[CERTIFICATE_SHOWN_MAX];
    assert_true(count <= CERTIFICATE_SHOWN_MAX);
    for (int i = 0; i < count; i++)
        ders[i] = (struct der){shown[i].buffer, shown[i].length};
    const struct certificate_request request = {.anchors = &judging->anchors,
                                                .shown = ders,
                                                .shown_count = (size_t)count,
                                                .now = time(NULL)};
    if (count == 0)
        return 0;
    certificate_path_check(&request, &verdict);
    *alert = certificate_flaw_alert(verdict.flaw);
    good_certificates += verdict.flaw == FLAW_NONE;
    return verdict.flaw != FLAW_NONE;
}

static WOLFSSL *make_client(const struct client *client, struct side *side, WOLFSSL_CTX **ctx)
{
    char path[128], key_path[128];
    *ctx = wolfSSL_CTX_new(client->is_1_3 ? wolfDTLSv1_3_client_method()
                                          : wolfDTLSv1_2_client_method());
    assert_non_null(*ctx);
    wolfSSL_CTX_set_verify(*ctx, WOLFSSL_VERIFY_NONE, NULL);
    if (client->certificate) {
        snprintf(path, sizeof(path), "%s/%s.pem", creds_fixture_folder(), client->certificate);
        snprintf(key_path, sizeof(key_path), "%s/%s.key", creds_fixture_folder(),
                 client->certificate);
        assert_int_equal(wolfSSL_CTX_use_certificate_chain_file(*ctx, path), 1);
        assert_int_equal(wolfSSL_CTX_use_PrivateKey_file(*ctx, key_path, WOLFSSL_FILETYPE_PEM), 1);
    }
    if (client->identity) {
        wolfSSL_CTX_set_psk_client_callback(*ctx, client_psk);
        if (client->is_1_3)
            wolfSSL_CTX_set_psk_client_tls13_callback(*ctx, client_psk_1_3);
    }
    if (client->ciphers)
        assert_int_equal(wolfSSL_CTX_set_cipher_list(*ctx, client->ciphers), 1);
    wolfSSL_CTX_SetIORecv(*ctx, receive);
    wolfSSL_CTX_SetIOSend(*ctx, send_datagram);
    WOLFSSL *ssl = wolfSSL_new(*ctx);
    assert_non_null(ssl);
    wolfSSL_set_psk_callback_ctx(ssl, (void *)(uintptr_t)client);
    if (client->sni)
        assert_int_equal(wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, client->sni,
                                        (unsigned short)strlen(client->sni)),
                         1);
    if (client->session) {
        assert_int_equal(wolfSSL_UseSessionTicket(ssl), 1);
        /* Fails if there is nothing in it to resume: then the handshake must be a full one. */
        if (*client->session)
            (void)wolfSSL_set_session(ssl, *client->session);
    }
    wolfSSL_SetIOReadCtx(ssl, side);
    wolfSSL_SetIOWriteCtx(ssl, side);
    wolfSSL_dtls_set_using_nonblock(ssl, 1);
    return ssl;
}

static WOLFSSL *make_server(const struct creds *creds, struct side *side)
{
    static const byte secret[32] = "cookies";
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(1)};
    if (creds->psks) {
        wolfSSL_CTX_set_psk_server_callback(creds->ctx, server_psk);
        wolfSSL_CTX_set_psk_server_tls13_callback(creds->ctx, server_psk_1_3);
    }
    judging = creds;
    wolfSSL_CTX_set_peer_certs_cb(creds->ctx, judge);
    wolfSSL_CTX_SetIORecv(creds->ctx, receive);
    wolfSSL_CTX_SetIOSend(creds->ctx, send_datagram);
    WOLFSSL *ssl = wolfSSL_new(creds->ctx);
    assert_non_null(ssl);
    wolfSSL_SetIOReadCtx(ssl, side);
    wolfSSL_SetIOWriteCtx(ssl, side);
    wolfSSL_dtls_set_using_nonblock(ssl, 1);
    assert_int_equal(wolfSSL_dtls_set_peer(ssl, &peer, sizeof(peer)), 1);
    assert_int_equal(wolfSSL_DTLS_SetCookieSecret(ssl, secret, sizeof(secret)), 0);
    if (wolfSSL_version(ssl) == DTLS1_3_VERSION)
        assert_int_equal(wolfSSL_send_hrr_cookie(ssl, secret, sizeof(secret)), 1);
    return ssl;
}

static int step(WOLFSSL *ssl, int code)
{
    if (code == WOLFSSL_SUCCESS)
        return 0;
    int error = wolfSSL_get_error(ssl, code);
    return error == 0 ? WOLFSSL_FATAL_ERROR : error;
}

static void run(const struct creds *creds, WOLFSSL *client, WOLFSSL *server, struct ended *ended,
                const struct ends *ends)
{
    int at_client = WOLFSSL_ERROR_WANT_READ, at_server = WOLFSSL_ERROR_WANT_READ;
    for (int moved = -1;
         moved != ends->to_client.sent + ends->to_server.sent + ends->to_client.received;) {
        moved = ends->to_client.sent + ends->to_server.sent + ends->to_client.received;
        if (at_client == WOLFSSL_ERROR_WANT_READ)
            at_client = step(client, wolfSSL_connect(client));
        if (at_server == WOLFSSL_ERROR_WANT_READ) {
            at_server = step(server, wolfSSL_accept(server));
            if (at_server == WOLFSSL_ERROR_WANT_READ)
                creds_settle_verify(creds, server);
        }
    }
    char byte;
    if (at_client == 0)
        at_client = wolfSSL_read(client, &byte, 1) < 0 &&
                            wolfSSL_get_error(client, -1) == WOLFSSL_ERROR_WANT_READ
                        ? 0
                        : WOLFSSL_FATAL_ERROR;
    ended->is_up = at_client == 0 && at_server == 0;
    ended->error = at_server;
}

static struct ended shake_hands(const struct creds_fixture *f, const struct client *options)
{
    struct ends *ends = calloc(1, sizeof(*ends));
    assert_non_null(ends);
    struct side client_side = {&ends->to_client, &ends->to_server};
    struct side server_side = {&ends->to_server, &ends->to_client};
    WOLFSSL_CTX *client_ctx;
    WOLFSSL *client = make_client(options, &client_side, &client_ctx);
    WOLFSSL *server = make_server(f->creds, &server_side);
    struct ended ended = {0};
    good_certificates = 0;

    run(f->creds, client, server, &ended, ends);

    WOLFSSL_ALERT_HISTORY alerts;
    wolfSSL_get_alert_history(client, &alerts);
    ended.client_alert = alerts.last_rx.code;
    if (ended.is_up) {
        ended.suite = wolfSSL_get_cipher_name(server);
        ended.is_psk = options->is_1_3 ? wolfSSL_is_psk_negotiated(server)
                                       : strncmp(ended.suite, "PSK-", 4) == 0;
        ended.had_certificate = good_certificates > 0;
        ended.is_resumed = wolfSSL_session_reused(server);
        if (options->session && !*options->session)
            *options->session = wolfSSL_get1_session(client);
        assert_int_equal(wolfSSL_version(server),
                         options->is_1_3 ? DTLS1_3_VERSION : DTLS1_2_VERSION);
    }
    wolfSSL_free(client);
    wolfSSL_free(server);
    wolfSSL_CTX_free(client_ctx);
    free(ends);
    return ended;
}

static void assert_enters(const struct creds_fixture *f, struct client client, bool is_psk,
                          bool had_certificate)
{
    for (int is_1_3 = 0; is_1_3 < 2; is_1_3++) {
        client.is_1_3 = is_1_3;
        struct ended ended = shake_hands(f, &client);
        assert_true(ended.is_up);
        assert_int_equal(ended.is_psk, is_psk);
        assert_int_equal(ended.had_certificate, had_certificate);
    }
}

static void assert_enters_by_psk(const struct creds_fixture *f, struct client client)
{
    assert_enters(f, client, true, false);
}

static void assert_enters_by_certificate(const struct creds_fixture *f, struct client client)
{
    assert_enters(f, client, false, true);
}

static void assert_enters_unknown(const struct creds_fixture *f, struct client client)
{
    assert_enters(f, client, false, false);
}

/* How one DTLS version refuses: the server's error and the alert that the client gets. */
struct refusal {
    int error, alert;
};

static const struct refusal unknown_psk = {PSK_KEY_ERROR, unknown_psk_identity};
/* A Finished that does not verify is dropped without a word, as any bad record. */
static const struct refusal no_alert_wrong_psk = {WOLFSSL_ERROR_WANT_READ, -1};
static const struct refusal bad_binder = {BAD_BINDER, illegal_parameter};
static const struct refusal no_common_suite = {MATCH_SUITE_ERROR, handshake_failure};
static const struct refusal no_alert_no_server_certificate = {NO_CERT_ERROR, -1};
static const struct refusal no_certificate_1_2 = {NO_PEER_CERT, handshake_failure};
static const struct refusal no_certificate_1_3 = {NO_PEER_CERT, certificate_required};
static const struct refusal unknown_signer = {VERIFY_CERT_ERROR, unknown_ca};
static const struct refusal expired = {VERIFY_CERT_ERROR, certificate_expired};

static void assert_refused(const struct creds_fixture *f, struct client client,
                           struct refusal in_1_2, struct refusal in_1_3)
{
    for (int is_1_3 = 0; is_1_3 < 2; is_1_3++) {
        client.is_1_3 = is_1_3;
        struct ended ended = shake_hands(f, &client);
        assert_false(ended.is_up);
        assert_int_equal(ended.error, is_1_3 ? in_1_3.error : in_1_2.error);
        assert_int_equal(ended.client_alert, is_1_3 ? in_1_3.alert : in_1_2.alert);
    }
}

static void test_psk_only(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK);
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY32});
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY, .sni = "192.0.2.1"});
    assert_refused(f, (struct client){.identity = "stranger"}, unknown_psk, bad_binder);
    assert_refused(f, (struct client){.identity = IDENTITY, .has_wrong_key = true},
                   no_alert_wrong_psk, bad_binder);
    assert_refused(f, (struct client){.certificate = "device"}, no_common_suite,
                   no_alert_no_server_certificate);
}

/* What one device shows stays with its handshake (RFC 5280 section 6.1.3). */
static void test_intermediate_is_not_kept(void **state)
{
    struct creds_fixture *f = *state;
    const struct client alone = {.certificate = "chained"},
                        shown = {.certificate = "chained-shown"};
    creds_fixture_load(f, PAIR CA);
    assert_refused(f, alone, unknown_signer, unknown_signer);
    assert_enters_by_certificate(f, shown);
    assert_refused(f, alone, unknown_signer, unknown_signer);
}

static void test_certificate_required(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PAIR CA);
    assert_enters_by_certificate(f, (struct client){.certificate = "device"});
    assert_enters_by_certificate(f, (struct client){.certificate = "device", .sni = "192.0.2.1"});
    assert_refused(f, (struct client){.certificate = NULL}, no_certificate_1_2, no_certificate_1_3);
    assert_refused(f, (struct client){.certificate = "rogue-device"}, unknown_signer,
                   unknown_signer);
    assert_refused(f, (struct client){.certificate = "expired-device"}, expired, expired);
    assert_refused(f, (struct client){.identity = IDENTITY}, no_certificate_1_2,
                   no_certificate_1_3);
}

static void test_mixed_required(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR CA);
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY, .certificate = "rogue-device"});
    assert_enters_by_certificate(f, (struct client){.certificate = "device"});
    assert_refused(f, (struct client){.certificate = NULL}, no_certificate_1_2, no_certificate_1_3);
    assert_refused(f, (struct client){.certificate = "rogue-device"}, unknown_signer,
                   unknown_signer);
    assert_refused(f, (struct client){.certificate = "expired-device"}, expired, expired);
    assert_refused(f, (struct client){.identity = "stranger"}, unknown_psk, no_certificate_1_3);
    assert_refused(f, (struct client){.identity = IDENTITY, .has_wrong_key = true},
                   no_alert_wrong_psk, bad_binder);
}

/* A known identity in the hello proves nothing if another suite is chosen. */
static void test_mixed_required_known_identity_without_proof(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR CA);
    struct ended ended =
        shake_hands(f, &(struct client){.is_1_3 = true,
                                        .identity = IDENTITY,
                                        .has_wrong_key = true,
                                        .ciphers = "TLS13-CHACHA20-POLY1305-SHA256"});
    assert_int_equal(ended.error, NO_PEER_CERT);
}

static void test_mixed_optional(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR CA "client_auth = optional\n");
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_enters_by_certificate(f, (struct client){.certificate = "device"});
    assert_enters_unknown(f, (struct client){.certificate = NULL});
    assert_refused(f, (struct client){.certificate = "rogue-device"}, unknown_signer,
                   unknown_signer);
    assert_refused(f, (struct client){.certificate = "expired-device"}, expired, expired);
}

static void test_mixed_none(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR "client_auth = none\n");
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_enters_unknown(f, (struct client){.certificate = NULL});
    assert_enters_unknown(f, (struct client){.certificate = "rogue-device"});
}

static void test_certificate_without_ca_leaves_psk(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR);
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_refused(f, (struct client){.certificate = "device"}, no_common_suite, unknown_signer);
    assert_refused(f, (struct client){.certificate = NULL}, no_common_suite, no_certificate_1_3);
}

static void test_kinds_of_server_keys(void **state)
{
    struct creds_fixture *f = *state;
    static const char *const names[] = {"server", "rsa-server", "ec-by-rsa", "expired"};
    for (size_t i = 0; i < 4; i++) {
        char settings[256];
        snprintf(settings, sizeof(settings),
                 "client_ca = ca.pem\ncertificate = %s.pem\nprivate_key = %s.key\n", names[i],
                 names[i]);
        creds_fixture_load(f, settings);
        assert_enters_by_certificate(f, (struct client){.certificate = "device"});
    }
    creds_fixture_load(f, PAIR "client_ca = rsa-ca.pem\n");
    assert_enters_by_certificate(f, (struct client){.certificate = "rsa-device"});
    creds_fixture_load(f, PAIR CA "versions = 1.2\n");
    struct ended ended = shake_hands(f, &(struct client){.certificate = "device"});
    assert_true(ended.is_up && ended.had_certificate);
}

static void test_expired_ca_signs_nobody_in(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR "client_ca = expired-ca.pem\n");
    assert_enters_by_psk(f, (struct client){.identity = IDENTITY});
    assert_refused(f, (struct client){.certificate = "device"}, unknown_signer, unknown_signer);
}

static void test_versions(void **state)
{
    struct creds_fixture *f = *state;
    struct client v1_2 = {.identity = IDENTITY}, v1_3 = {.is_1_3 = true, .identity = IDENTITY};
    creds_fixture_load(f, PSK "versions = 1.2\n");
    assert_true(shake_hands(f, &v1_2).is_up);
    assert_false(shake_hands(f, &v1_3).is_up);
    creds_fixture_load(f, PSK "versions = 1.3\n");
    assert_false(shake_hands(f, &v1_2).is_up);
    assert_true(shake_hands(f, &v1_3).is_up);
}

static void test_nothing_is_resumed(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PAIR CA);
    for (int is_1_3 = 0; is_1_3 < 2; is_1_3++) {
        WOLFSSL_SESSION *session = NULL;
        struct client client = {.is_1_3 = is_1_3, .certificate = "device", .session = &session};
        assert_true(shake_hands(f, &client).is_up);
        assert_non_null(session);
        struct ended again = shake_hands(f, &client);
        assert_true(again.is_up);
        assert_false(again.is_resumed);
        assert_true(again.had_certificate);
        wolfSSL_SESSION_free(session);
    }
}

/* Each suite of the default list does work. */
static void test_each_default_suite(void **state)
{
    struct creds_fixture *f = *state;
    char text[] = SUITES_PSK ":" SUITES_CERTIFICATE;
    for (char *end = NULL, *name = strtok_r(text, ":", &end); name;
         name = strtok_r(NULL, ":", &end)) {
        bool is_psk = strncmp(name, "PSK", 3) == 0, is_rsa = strstr(name, "RSA") != NULL;
        creds_fixture_load(f, is_rsa && !strstr(name, "ECDSA") ? CA
                                  "certificate = rsa-server.pem\nprivate_key = rsa-server.key\n"
                                                               : PSK PAIR CA);
        struct client client = {.identity = is_psk ? IDENTITY : NULL,
                                .certificate = is_psk ? NULL : "device",
                                .ciphers = name};
        struct ended ended = shake_hands(f, &client);
        assert_true(ended.is_up);
        assert_string_equal(ended.suite, name);
    }
    char text_1_3[] = SUITES_13;
    creds_fixture_load(f, PAIR CA);
    for (char *end = NULL, *name = strtok_r(text_1_3, ":", &end); name;
         name = strtok_r(NULL, ":", &end)) {
        struct client client = {.is_1_3 = true, .certificate = "device", .ciphers = name};
        assert_true(shake_hands(f, &client).is_up);
    }
}

/* PSK before certificate: a client that offers both has a key, but maybe no certificate. */
static void test_psk_is_preferred(void **state)
{
    struct creds_fixture *f = *state;
    creds_fixture_load(f, PSK PAIR CA);
    struct client client = {.identity = IDENTITY,
                            .ciphers = "ECDHE-ECDSA-AES128-CCM-8:PSK-AES128-CCM-8"};
    struct ended ended = shake_hands(f, &client);
    assert_true(ended.is_up);
    assert_string_equal(ended.suite, "PSK-AES128-CCM-8");
}

#define TEST(function) \
    cmocka_unit_test_setup_teardown(function, creds_fixture_set_up, creds_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_psk_only),
        TEST(test_intermediate_is_not_kept),
        TEST(test_certificate_required),
        TEST(test_mixed_required),
        TEST(test_mixed_required_known_identity_without_proof),
        TEST(test_mixed_optional),
        TEST(test_mixed_none),
        TEST(test_certificate_without_ca_leaves_psk),
        TEST(test_kinds_of_server_keys),
        TEST(test_expired_ca_signs_nobody_in),
        TEST(test_versions),
        TEST(test_nothing_is_resumed),
        TEST(test_each_default_suite),
        TEST(test_psk_is_preferred),
    };
    return cmocka_run_group_tests(tests, creds_fixture_make_keys, creds_fixture_remove_keys);
}
