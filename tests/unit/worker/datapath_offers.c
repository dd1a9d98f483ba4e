/* Hellos with nothing in common, or broken: the reason in the log is the truth, and it says what
 * was offered. One row for each way; those that fail later are in datapath_reasons.c and
 * datapath_refused.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "worker/datapath_tests.h"

#define ONLY_PSK GATE LISTENER PSK
#define ONLY_CERTIFICATE GATE LISTENER CERTIFICATE CLIENT_CA
#define WITH_SHA384 "ciphers = TLS13-AES256-GCM-SHA384:TLS13-AES128-GCM-SHA256\n"
#define RSA GATE LISTENER "certificate = rsa-server.pem\nprivate_key = rsa-server.key\n" CLIENT_CA

/* ---- what is changed in a hello on its way ----------------------------------------------------
 */

enum edit {
    AS_IT_IS,
    OTHER_GROUPS, /* each one unknown */
    OTHER_GROUPS_AND_SHARES,
    NO_GROUPS,        /* no such extension */
    OTHER_SIGNATURES, /* each one unknown */
    NO_SIGNATURES,
    OTHER_SUITES,
    SUITES_OF_1_3,
    NO_KEY_SHARE,
    OTHER_VERSIONS, /* the list of 1.3 */
    VERSION_1_0,    /* the field of 1.2 */
    BAD_LENGTHS,
    BAD_FRAGMENT_LENGTH,
    DOUBLE_EXTENSION,
    COMPRESSION,
    ONLY_P521,
};

enum {
    HELLO_AT = 25,
    SUPPORTED_GROUPS = 10,
    SIGNATURES = 13,
    MAX_FRAGMENT = 1,
    VERSIONS = 43,
    KEY_SHARE = 51,
    UNKNOWN = 0xfe01
};

static uint8_t *find_extension(uint8_t *hello, size_t len, unsigned type, size_t *body_len)
{
    uint8_t *at = hello + HELLO_AT + 2 + 32, *end = hello + len;
    at += 1 + at[0];
    at += 1 + at[0];
    at += 2 + bytes_get16(at);
    at += 1 + at[0];
    for (at += 2; at + 4 <= end; at += 4 + bytes_get16(at + 2)) {
        *body_len = bytes_get16(at + 2);
        if (bytes_get16(at) == type)
            return at;
    }
    return NULL;
}

static void fill(uint8_t *hello, size_t len, unsigned type, size_t begin, unsigned value)
{
    size_t body_len;
    uint8_t *at = find_extension(hello, len, type, &body_len);
    assert_non_null(at);
    for (size_t i = begin; i + 1 < body_len; i += 2)
        bytes_put16(at + 4 + i, (uint16_t)(value + i));
}

static void rename_extension(uint8_t *hello, size_t len, unsigned type, unsigned to)
{
    size_t body_len;
    uint8_t *at = find_extension(hello, len, type, &body_len);
    assert_non_null(at);
    bytes_put16(at, (uint16_t)to);
}

static void change(uint8_t *hello, size_t len, enum edit edit)
{
    size_t body_len;
    uint8_t *at;
    switch (edit) {
    case AS_IT_IS: break;
    case OTHER_GROUPS: fill(hello, len, SUPPORTED_GROUPS, 2, 0xfe10); break;
    case NO_GROUPS: rename_extension(hello, len, SUPPORTED_GROUPS, UNKNOWN); break;
    case OTHER_SIGNATURES: fill(hello, len, SIGNATURES, 2, 0xfe10); break;
    case NO_SIGNATURES: rename_extension(hello, len, SIGNATURES, UNKNOWN); break;
    case OTHER_GROUPS_AND_SHARES:
        fill(hello, len, SUPPORTED_GROUPS, 2, 0xfe10);
        at = find_extension(hello, len, KEY_SHARE, &body_len);
        assert_non_null(at);
        if (body_len > 4)
            bytes_put16(at + 6, 0xfe12);
        break;
    case OTHER_SUITES:
    case SUITES_OF_1_3:
        at = hello + HELLO_AT + 2 + 32;
        at += 1 + at[0];
        at += 1 + at[0];
        for (size_t i = 0; i < bytes_get16(at); i += 2)
            bytes_put16(at + 2 + i, (uint16_t)((edit == OTHER_SUITES ? 0xfe10 : 0x1301) + i));
        break;
    case NO_KEY_SHARE: rename_extension(hello, len, KEY_SHARE, UNKNOWN); break;
    case OTHER_VERSIONS: fill(hello, len, VERSIONS, 1, 0xfe10); break;
    case VERSION_1_0: bytes_put16(hello + HELLO_AT, 0xfeff); break;
    case BAD_LENGTHS:
        at = find_extension(hello, len, SUPPORTED_GROUPS, &body_len);
        bytes_put16(at + 4, (uint16_t)(body_len + 10));
        break;
    case BAD_FRAGMENT_LENGTH:
        at = find_extension(hello, len, MAX_FRAGMENT, &body_len);
        assert_non_null(at);
        at[4] = 9;
        break;
    case ONLY_P521:
        at = find_extension(hello, len, SUPPORTED_GROUPS, &body_len);
        assert_non_null(at);
        for (size_t i = 2; i + 1 < body_len; i += 2)
            bytes_put16(at + 4 + i, 25);
        break;
    case COMPRESSION: /* RFC 8446 section 4.1.2: of 1.3 none but null */
        at = hello + HELLO_AT + 2 + 32;
        at += 1 + at[0];
        at += 1 + at[0];
        at += 2 + bytes_get16(at);
        at[1] = 1;
        break;
    case DOUBLE_EXTENSION: rename_extension(hello, len, SIGNATURES, SUPPORTED_GROUPS); break;
    }
}

static enum edit edit_now;

static void send_changed(void *context, const uint8_t *datagram, size_t len)
{
    const struct device *device = context;
    uint8_t *changed = fake_network_copy(datagram, len);
    if (len > HELLO_AT && changed[0] == 22 && changed[13] == 1)
        change(changed, len, edit_now);
    fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, changed, len);
    free(changed);
}

/* ---- hellos --------------------------------------------------------------------------------- */

struct reason {
    const char *ini;
    struct client_kind kind;
    enum edit edit;
    const char *parts[5];
};

static const struct reason reasons[] = {
    {USUAL,
     {.name = "1.2, no suite", ECDSA_12},
     OTHER_SUITES,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:0xfe10"}},
    {USUAL,
     {.name = "1.3, no suite", GCM_13},
     OTHER_SUITES,
     {"event=hello_ignored", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:0xfe10"}},
    {USUAL,
     {.name = "1.2, suites of 1.3 only", ECDSA_12},
     SUITES_OF_1_3,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:TLS_AES_128_GCM_SHA256"}},
    {USUAL,
     {.name = "1.2, no group", ECDSA_12},
     OTHER_GROUPS,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no group in common",
      " groups:0xfe12,0xfe14"}},
    {USUAL,
     {.name = "1.3, no group", GCM_13},
     OTHER_GROUPS_AND_SHARES,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no group in common",
      " groups:0xfe12,0xfe14"}},
    {USUAL,
     {.name = "1.3 psk, no group", GCM_13, WITH_PSK},
     OTHER_GROUPS_AND_SHARES,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no group in common",
      " groups:0xfe12,0xfe14"}},
    {USUAL,
     {.name = "1.3, share of a group that it does not list", GCM_13},
     OTHER_GROUPS,
     {"event=handshake_failed", "reason=protocol_error", "detail=", "offered=versions:1.3"}},
    {USUAL,
     {.name = "1.2, no signature", ECDSA_12, .certificate = "device"},
     OTHER_SIGNATURES,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no signature algorithm in common",
      " signatures:0xfe12,"}},
    {USUAL,
     {.name = "1.3, no signature", GCM_13, .certificate = "device"},
     OTHER_SIGNATURES,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no signature algorithm in common",
      " signatures:0xfe12,"}},
    {USUAL,
     {.name = "1.3, groups missing", GCM_13},
     NO_GROUPS,
     {"event=hello_ignored", "reason=protocol_error", "detail=it lacks supported_groups",
      " groups:none"}},
    {USUAL,
     {.name = "1.3, share missing", GCM_13},
     NO_KEY_SHARE,
     {"event=hello_ignored", "reason=protocol_error", "detail=it lacks key_share"}},
    {USUAL,
     {.name = "1.3, signatures missing", GCM_13},
     NO_SIGNATURES,
     {"event=hello_ignored", "reason=protocol_error", "detail=it lacks signature_algorithms",
      " signatures:none"}},
    {USUAL,
     {.name = "1.3, no version", GCM_13},
     OTHER_VERSIONS,
     {"event=hello_ignored", "reason=version", "versions:0xfe11 "}},
    {USUAL,
     {.name = "1.0", ECDSA_12},
     VERSION_1_0,
     {"event=handshake_failed", "reason=version", "versions:1.0 "}},
    {USUAL "versions = 1.3\n",
     {.name = "1.2 where only 1.3 is spoken", ECDSA_12},
     AS_IT_IS,
     {"event=handshake_failed", "reason=version", "versions:1.2 "}},
    {USUAL,
     {.name = "1.2, lengths", ECDSA_12},
     BAD_LENGTHS,
     {"event=handshake_failed", "reason=protocol_error", "detail=malformed",
      "offered=versions:1.2 "}},
    {USUAL,
     {.name = "1.3, lengths", GCM_13},
     BAD_LENGTHS,
     {"event=hello_ignored", "reason=protocol_error", "detail=decode_error",
      "offered=versions:1.3 "}},
    {USUAL,
     {.name = "1.2, max_fragment_length", ECDSA_12, .max_fragment = 1},
     BAD_FRAGMENT_LENGTH,
     {"event=handshake_failed", "reason=protocol_error", "max frag len"}},
    {USUAL,
     {.name = "1.3, max_fragment_length", GCM_13, .max_fragment = 1},
     BAD_FRAGMENT_LENGTH,
     {"event=handshake_failed", "reason=protocol_error", "max frag len"}},
    {USUAL,
     {.name = "1.2, an extension twice", ECDSA_12},
     DOUBLE_EXTENSION,
     {"event=handshake_failed", "reason=protocol_error", "detail=Duplicate"}},
    {USUAL,
     {.name = "1.3, compression", GCM_13},
     COMPRESSION,
     {"event=hello_ignored", "reason=protocol_error", "detail=illegal_parameter"}},
    {ONLY_CERTIFICATE,
     {.name = "1.2 psk where none is taken", PSK_12, .identity = IDENTITY},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:TLS_PSK_WITH_AES_128_CCM_8"}},
    {ONLY_CERTIFICATE,
     {.name = "1.3 psk where none is taken", GCM_13, WITH_PSK},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_certificate", " psk:dhe_ke "}},
    {ONLY_PSK,
     {.name = "1.2 certificate where none is taken", ECDSA_12, .certificate = "device"},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"}},
    {ONLY_PSK,
     {.name = "1.3 certificate where none is taken", GCM_13, .certificate = "device"},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_common_suite",
      "detail=it has no PSK that serves, and the listener has no certificate",
      "offered=versions:1.3 "}},
    {USUAL,
     {.name = "1.3 psk_ke", GCM_13, .has_psk_ke_only = true, WITH_PSK},
     AS_IT_IS,
     {"event=hello_ignored", "reason=no_common_suite", "(psk_ke)", " psk:ke "}},
    {ONLY_PSK,
     {.name = "1.3 psk_ke, no certificates",
      GCM_13,
      .has_psk_ke_only = true,
      .identity = IDENTITY,
      .key = KEY},
     AS_IT_IS,
     {"event=hello_ignored", "reason=no_common_suite", "(psk_ke)", " psk:ke "}},
    {USUAL,
     {.name = "1.3 psk with SHA-384 only",
      SUITE_13("TLS13-AES256-GCM-SHA384"),
      .identity = IDENTITY,
      .key = KEY},
     AS_IT_IS,
     {"event=hello_ignored", "reason=no_common_suite", "detail=no cipher suite in common",
      " suites:TLS_AES_256_GCM_SHA384"}},
    {USUAL WITH_SHA384,
     {.name = "1.3 psk with SHA-384 only, certificate suite",
      SUITE_13("TLS13-AES256-GCM-SHA384"),
      .identity = IDENTITY,
      .key = KEY},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_certificate", " psk:dhe_ke "}},
    {RSA,
     {.name = "1.2 ECDSA with P-521 at an RSA certificate", ECDSA_12, .certificate = "device"},
     ONLY_P521,
     {"event=handshake_failed", "reason=no_common_suite", "none for the key of the certificate",
      " groups:secp521r1,"}},
    {RSA,
     {.name = "1.2 ECDSA at an RSA certificate", ECDSA_12, .certificate = "device"},
     AS_IT_IS,
     {"event=handshake_failed", "reason=no_common_suite", "none for the key of the certificate"}},
};

static void reason_is_true(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        const struct reason *r = &reasons[i];
        gate_doing("%s", r->kind.name);
        gate_open(gate, r->ini);
        struct device *device = gate_add(gate, &r->kind);
        device->client->send = send_changed;
        edit_now = r->edit;
        device_connect(device);
        gate_run(gate, 500);
        for (const char *const *part = r->parts; *part != NULL; part++)
            if (fake_log_count(r->parts[0], r->parts[1], *part, NULL) != 1)
                fail_msg("%s", *part);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
    }
    gate_doing(NULL);
}

int datapath_offers_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(reason_is_true),
    };
    return cmocka_run_group_tests_name("datapath: offers", tests, NULL, NULL);
}
