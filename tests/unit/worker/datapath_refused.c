/* Handshakes that fail: with the reason that an operator reads, and no session. */
#include <wolfssl/options.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <wolfssl/ssl.h>

#include "worker/datapath_tests.h"

enum { HANDSHAKE_TIMEOUT_MS = 90000, PATIENCE_MS = 10100, ALERT_NONE = -1 };

struct refused {
    const char *ini;
    struct client_kind kind;
    enum handshake_result result;
    enum credential credential; /* that it is counted under */
    int alert;                  /* that the device gets */
    const char *logged;         /* part of the line */
};

/* A suite that does not go with a PSK: those have SHA-256. */
#define SHA384_13 SUITE_13("TLS13-AES256-GCM-SHA384")
#define WITH_SHA384 "ciphers = TLS13-AES256-GCM-SHA384:TLS13-AES128-GCM-SHA256\n"
#define ONLY_PSK GATE LISTENER PSK
#define ONLY_CERTIFICATE GATE LISTENER CERTIFICATE CLIENT_CA
#define ONLY_1_3 USUAL "versions = 1.3\n"

/* Alerts by their names of RFC 8446 section 6. */
enum {
    HANDSHAKE_FAILURE = 40,
    ALERT_UNSUPPORTED_CERTIFICATE = 43,
    CERTIFICATE_EXPIRED = 45,
    ILLEGAL_PARAMETER = 47,
    UNKNOWN_CA = 48,
    PROTOCOL_VERSION = 70,
    UNKNOWN_PSK_IDENTITY = 115,
    CERTIFICATE_REQUIRED = 116,
};

/* Those that fail at once. */
static const struct refused refusals[] = {
    {USUAL,
     {.name = "1.2 unknown identity", PSK_12, .identity = "nobody"},
     HANDSHAKE_unknown_identity,
     CREDENTIAL_PSK,
     UNKNOWN_PSK_IDENTITY,
     "identity=nobody"},
    {USUAL,
     {.name = "1.3 unknown identity", GCM_13, .identity = "nobody", .key = KEY},
     HANDSHAKE_unknown_identity,
     CREDENTIAL_PSK,
     CERTIFICATE_REQUIRED,
     "identity=nobody"},
    {ONLY_PSK,
     {.name = "1.3 unknown identity, only PSK", GCM_13, .identity = "nobody", .key = KEY},
     HANDSHAKE_unknown_identity,
     CREDENTIAL_PSK,
     ILLEGAL_PARAMETER,
     "identity=nobody"},
    {USUAL,
     {.name = "1.3 wrong key", GCM_13, .identity = OTHER_IDENTITY, .key = KEY},
     HANDSHAKE_wrong_key,
     CREDENTIAL_PSK,
     ILLEGAL_PARAMETER,
     "identity=" OTHER_IDENTITY},
    {USUAL,
     {.name = "1.2 no common suite",
      .version = VERSION_1_2,
      .suites = "ECDHE-ECDSA-AES256-CCM-8",
      .certificate = "device"},
     HANDSHAKE_no_common_suite,
     CREDENTIAL_UNKNOWN,
     HANDSHAKE_FAILURE,
     "version=1.2"},
    {ONLY_CERTIFICATE,
     {.name = "1.2 only PSK", PSK_12, .identity = IDENTITY},
     HANDSHAKE_no_common_suite,
     CREDENTIAL_UNKNOWN,
     HANDSHAKE_FAILURE,
     "version=1.2"},
    {ONLY_1_3,
     {.name = "1.2 where only 1.3 is spoken", PSK_12, .identity = IDENTITY},
     HANDSHAKE_version,
     CREDENTIAL_UNKNOWN,
     PROTOCOL_VERSION,
     "reason=version"},
    {USUAL,
     {.name = "1.2 unknown CA", ECDSA_12, .certificate = "rogue-device"},
     HANDSHAKE_certificate_rejected,
     CREDENTIAL_CERTIFICATE,
     UNKNOWN_CA,
     "issuer is not in client_ca"},
    {USUAL,
     {.name = "1.3 unknown CA", GCM_13, .certificate = "rogue-device"},
     HANDSHAKE_certificate_rejected,
     CREDENTIAL_CERTIFICATE,
     UNKNOWN_CA,
     "issuer is not in client_ca"},
    {USUAL,
     {.name = "1.2 expired certificate", ECDSA_12, .certificate = "expired-device"},
     HANDSHAKE_certificate_rejected,
     CREDENTIAL_CERTIFICATE,
     CERTIFICATE_EXPIRED,
     "it has expired"},
    {USUAL,
     {.name = "1.3 expired certificate", GCM_13, .certificate = "expired-device"},
     HANDSHAKE_certificate_rejected,
     CREDENTIAL_CERTIFICATE,
     CERTIFICATE_EXPIRED,
     "it has expired"},
    {USUAL,
     {.name = "1.2 no certificate", ECDSA_12},
     HANDSHAKE_no_certificate,
     CREDENTIAL_NONE,
     HANDSHAKE_FAILURE,
     "version=1.2"},
    {USUAL,
     {.name = "1.3 no certificate", GCM_13},
     HANDSHAKE_no_certificate,
     CREDENTIAL_NONE,
     CERTIFICATE_REQUIRED,
     "version=1.3"},
    {ONLY_CERTIFICATE,
     {.name = "1.2 no certificate, no PSKs", ECDSA_12},
     HANDSHAKE_no_certificate,
     CREDENTIAL_NONE,
     HANDSHAKE_FAILURE,
     "version=1.2"},
    {ONLY_CERTIFICATE,
     {.name = "1.3 no certificate, no PSKs", GCM_13},
     HANDSHAKE_no_certificate,
     CREDENTIAL_NONE,
     CERTIFICATE_REQUIRED,
     "version=1.3"},
    {USUAL,
     {.name = "1.2 device does not accept ours",
      ECDSA_12,
      .certificate = "device",
      .ca = "rogue-ca"},
     HANDSHAKE_client_alert,
     CREDENTIAL_UNKNOWN,
     ALERT_NONE,
     "detail=unknown_ca"},
    {USUAL,
     {.name = "1.3 device does not accept ours", GCM_13, .certificate = "device", .ca = "rogue-ca"},
     HANDSHAKE_client_alert,
     CREDENTIAL_UNKNOWN,
     ALERT_NONE,
     "detail=unknown_ca"},
    /* A known identity was named, but a certificate suite chosen: nothing proves the PSK. */
    {USUAL WITH_SHA384,
     {.name = "1.3 known identity, certificate suite", SHA384_13, WITH_PSK},
     HANDSHAKE_no_certificate,
     CREDENTIAL_NONE,
     CERTIFICATE_REQUIRED,
     "version=1.3"},
};

static uint64_t counted(struct gate *gate, const struct refused *refusal)
{
    uint64_t sum = 0;
    for (unsigned v = 0; v < VERSION_COUNT; v++)
        sum += counter_get(
            &gate_counters(gate, 0)->handshakes[v][refusal->credential][refusal->result]);
    return sum;
}

static void refused_devices_get_no_session(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refused *refusal = &refusals[i];
        char reason[64];
        gate_doing("%s", refusal->kind.name);
        gate_open(gate, refusal->ini);
        struct device *device = gate_add(gate, &refusal->kind);
        device_connect(device);
        /* Its alert is in plaintext, and ends the handshake only if nothing follows. */
        bool is_patient =
            refusal->result == HANDSHAKE_client_alert && refusal->kind.version == VERSION_1_2;
        gate_run(gate, is_patient ? PATIENCE_MS : 100);
        snprintf(reason, sizeof(reason), "reason=%s", handshake_result_name(refusal->result));
        assert_int_equal(gate_handshakes(gate, refusal->result), 1);
        assert_int_equal(counted(gate, refusal), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_failed), is_patient ? 0 : 1);
        assert_int_equal(fake_log_count("event=handshake_failed", reason, refusal->logged, NULL),
                         1);
        assert_int_equal(device->client->state, CLIENT_BROKEN);
        assert_int_equal(device->client->alert_received, refusal->alert);
        uint32_t told = fake_network_count(GATE_TO_CLIENT, NULL);
        gate_run(gate, 2 * HANDSHAKE_TIMEOUT_MS);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), told);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
        assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), 0);
    }
    gate_doing(NULL);
}

/* In DTLS 1.2 a wrong key shows by a Finished that nobody can read. A forged one looks the same, so
 * it does not end the handshake; the log tells at once nevertheless. */
static void wrong_key_of_1_2_is_told_at_once_and_fails_in_time(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm"};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct client_kind kind = *gate_kind(kinds[i]);
        kind.identity = OTHER_IDENTITY;
        gate_doing("%s", kind.name);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, &kind);
        device_connect(device);
        gate_run(gate, 100);
        assert_int_equal(fake_log_count("event=handshake_stalled", "reason=wrong_key",
                                        "identity=" OTHER_IDENTITY, NULL),
                         1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_wrong_key), 0);
        gate_run(gate, HANDSHAKE_TIMEOUT_MS);
        assert_int_equal(fake_log_count("event=handshake_stalled", NULL), 1);
        assert_int_equal(
            counter_get(&gate_counters(gate, 0)
                             ->handshakes[VERSION_1_2][CREDENTIAL_PSK][HANDSHAKE_wrong_key]),
            1);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=wrong_key", NULL), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
        /* Two sides that repeat themselves must not set each other off. */
        assert_in_range(fake_network_count(GATE_TO_CLIENT, NULL), 1, 40);
    }
    gate_doing(NULL);
}

/* Nothing in common at the first hello: there is no state to answer from, so there is no answer,
 * but the log tells why. */
static void hello_with_nothing_in_common_is_ignored(void **state)
{
    static const struct client_kind kind = {
        .name = "1.3", SUITE_13("TLS13-AES256-GCM-SHA384"), .certificate = "device"};
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &kind);
    device_connect(device);
    gate_run(gate, 100);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_hello_ignored), 1);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), 0);
    assert_int_equal(fake_log_count("event=hello_ignored", "reason=no_common_suite", NULL), 1);
}

/* The extension by which a device says that it takes raw public keys only, from the server (20) or
 * for itself (19): a list of one type, 2. */
static const uint8_t raw_keys_only[] = {0, 20, 0, 2, 1, 2};

static void send_as_own_raw_key(void *context, const uint8_t *datagram, size_t len)
{
    const struct device *device = context;
    uint8_t *changed = fake_network_copy(datagram, len);
    uint8_t *at = memmem(changed, len, raw_keys_only, sizeof(raw_keys_only));
    if (at != NULL)
        at[1] = 19;
    fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, changed, len);
    free(changed);
}

/* RFC 7250 section 4.2: no type of certificate in common. The gate has X.509 only. */
static void device_of_raw_public_keys_is_refused(void **state)
{
    static const char *const devices[] = {"1.2 certificate", "1.3 certificate"};
    static const char raw[] = {WOLFSSL_CERT_TYPE_RPK};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 4; i++) {
        bool is_own = i % 2 != 0;
        gate_doing("%s, raw key of the %s", devices[i / 2], is_own ? "device" : "server");
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, gate_kind(devices[i / 2]));
        assert_int_equal(wolfSSL_set_server_cert_type(device->client->ssl, raw, 1),
                         WOLFSSL_SUCCESS);
        if (is_own)
            device->client->send = send_as_own_raw_key;
        device_connect(device);
        gate_run(gate, 100);
        const struct packet *hello = gate_nth(CLIENT_TO_GATE, 1);
        assert_int_equal(memmem(hello->data, hello->len, raw_keys_only, 6) == NULL, is_own);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_no_common_suite), 1);
        assert_int_equal(device->client->alert_received, ALERT_UNSUPPORTED_CERTIFICATE);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=no_common_suite",
                                        "raw public keys", NULL),
                         1);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

/* With a choice, X.509 it is. */
static void device_that_also_takes_raw_public_keys_is_served(void **state)
{
    static const char *const devices[] = {"1.2 certificate", "1.3 certificate"};
    static const char both[] = {WOLFSSL_CERT_TYPE_RPK, WOLFSSL_CERT_TYPE_X509};
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2; i++) {
        gate_doing("%s", devices[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, gate_kind(devices[i]));
        assert_int_equal(wolfSSL_set_server_cert_type(device->client->ssl, both, 2),
                         WOLFSSL_SUCCESS);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        int type = -1;
        wolfSSL_get_negotiated_server_cert_type(device->client->ssl, &type);
        assert_int_equal(type, WOLFSSL_CERT_TYPE_X509);
    }
    gate_doing(NULL);
}

/* All that the devices below have. */
#define WITH_ALL                                                                  \
    "ciphers = TLS13-AES256-GCM-SHA384:TLS13-AES128-GCM-SHA256:PSK-AES128-CCM-8:" \
    "ECDHE-ECDSA-AES128-CCM-8\n"

struct allowed {
    const char *client_auth;
    struct client_kind kind;
    enum credential credential;
    const char *logged;
};

/* Who gets a session without having proved anything is who the settings say. */
static const struct allowed alloweds[] = {
    {"optional", {.name = "1.2 optional, without", ECDSA_12}, CREDENTIAL_NONE, "credential=none"},
    {"optional", {.name = "1.3 optional, without", GCM_13}, CREDENTIAL_NONE, "credential=none"},
    {"optional",
     {.name = "1.2 optional, with", ECDSA_12, .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "credential=certificate identity=device1"},
    {"optional",
     {.name = "1.3 optional, with", GCM_13, .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "credential=certificate identity=device1"},
    {"none", {.name = "1.2 none", ECDSA_12}, CREDENTIAL_NONE, "credential=none"},
    {"none", {.name = "1.3 none", GCM_13}, CREDENTIAL_NONE, "credential=none"},
    {"none",
     {.name = "1.2 none, with", ECDSA_12, .certificate = "device"},
     CREDENTIAL_NONE,
     "credential=none"},
    {"none",
     {.name = "1.2 psk", PSK_12, .identity = IDENTITY},
     CREDENTIAL_PSK,
     "credential=psk identity=device1"},
    {"none",
     {.name = "1.3 psk", GCM_13, WITH_PSK},
     CREDENTIAL_PSK,
     "credential=psk identity=device1"},
    /* A known identity was named, but a certificate suite chosen: nothing proves the PSK. */
    {"none",
     {.name = "1.3 known identity, certificate suite", SHA384_13, WITH_PSK},
     CREDENTIAL_NONE,
     "credential=none"},
    {"required",
     {.name = "1.3 known identity, client certificate",
      SHA384_13,
      .identity = OTHER_IDENTITY,
      .key = "ffffffffffffffff",
      .certificate = "device"},
     CREDENTIAL_CERTIFICATE,
     "credential=certificate identity=device1"},
};

static void credential_is_what_was_proved(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(alloweds) / sizeof(alloweds[0]); i++) {
        const struct allowed *allowed = &alloweds[i];
        char ini[1024];
        gate_doing("%s", allowed->kind.name);
        snprintf(ini, sizeof(ini), "%s%sclient_auth = %s\n", GATE LISTENER PSK CERTIFICATE WITH_ALL,
                 strcmp(allowed->client_auth, "none") == 0 ? "" : CLIENT_CA, allowed->client_auth);
        gate_open(gate, ini);
        gate_connected(gate, &allowed->kind);
        const struct counters *c = gate_counters(gate, 0);
        assert_int_equal(
            counter_get(
                &c->handshakes[allowed->kind.version][allowed->credential][HANDSHAKE_established]),
            1);
        assert_int_equal(fake_log_count("event=session_established", allowed->logged, NULL), 1);
        if (allowed->credential == CREDENTIAL_NONE)
            assert_int_equal(fake_log_count("identity=", NULL), 0);
    }
    gate_doing(NULL);
}

int datapath_refused_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(refused_devices_get_no_session),
        GATE_TEST(wrong_key_of_1_2_is_told_at_once_and_fails_in_time),
        GATE_TEST(hello_with_nothing_in_common_is_ignored),
        GATE_TEST(device_of_raw_public_keys_is_refused),
        GATE_TEST(device_that_also_takes_raw_public_keys_is_served),
        GATE_TEST(credential_is_what_was_proved),
    };
    return cmocka_run_group_tests_name("datapath: refused", tests, NULL, NULL);
}
