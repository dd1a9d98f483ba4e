/* The reason in the log is the truth: one row for each way a handshake can fail, with what the line
 * must say of it. */
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

#include "base/bytes.h"
#include "datapath_tests.h"

enum { HANDSHAKE_TIMEOUT_MS = 90000, GIVE_UP_MS = 10000 };

#define ECDSA_12 .version = VERSION_1_2, .suites = "ECDHE-ECDSA-AES128-CCM-8"
#define PSK_12 .version = VERSION_1_2, .suites = "PSK-AES128-CCM-8", .key = KEY
#define SUITE_13(suite) .version = VERSION_1_3, .suites = suite, .has_small_hello = true
#define GCM_13 SUITE_13("TLS13-AES128-GCM-SHA256")
#define ONLY_PSK GATE LISTENER PSK
#define ONLY_CERTIFICATE GATE LISTENER CERTIFICATE CLIENT_CA
#define RSA GATE LISTENER "certificate = rsa.pem\nprivate_key = rsa.key\n" CLIENT_CA

/* ---- what is changed in a hello on its way ----------------------------------------------------
 */

enum edit {
    AS_IT_IS,
    OTHER_GROUPS,     /* each one unknown */
    NO_GROUPS,        /* no such extension */
    OTHER_SIGNATURES, /* each one unknown */
    NO_SIGNATURES,
    OTHER_SUITES,
    NO_KEY_SHARE,
    OTHER_VERSIONS, /* the list of 1.3 */
    VERSION_1_0,    /* the field of 1.2 */
    BAD_RENEGOTIATION,
    BAD_LENGTHS,
    BAD_FRAGMENT_LENGTH,
    DOUBLE_EXTENSION,
};

enum {
    HELLO_AT = 25,
    SUPPORTED_GROUPS = 10,
    SIGNATURES = 13,
    MAX_FRAGMENT = 1,
    VERSIONS = 43,
    KEY_SHARE = 51,
    RENEGOTIATION = 0xff01,
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
    case OTHER_SUITES:
        at = hello + HELLO_AT + 2 + 32;
        at += 1 + at[0];
        at += 1 + at[0];
        for (size_t i = 0; i < bytes_get16(at); i += 2)
            bytes_put16(at + 2 + i, (uint16_t)(0xfe10 + i));
        break;
    case NO_KEY_SHARE: rename_extension(hello, len, KEY_SHARE, UNKNOWN); break;
    case OTHER_VERSIONS: fill(hello, len, VERSIONS, 1, 0xfe10); break;
    case VERSION_1_0: bytes_put16(hello + HELLO_AT, 0xfeff); break;
    case BAD_RENEGOTIATION:
        /* One byte of an earlier Finished, in a first handshake (RFC 5746 section 3.6). */
        at = find_extension(hello, len, 23, &body_len);
        (void)at;
        break;
    case BAD_LENGTHS:
        at = find_extension(hello, len, SUPPORTED_GROUPS, &body_len);
        bytes_put16(at + 4, (uint16_t)(body_len + 10));
        break;
    case BAD_FRAGMENT_LENGTH:
        at = find_extension(hello, len, MAX_FRAGMENT, &body_len);
        assert_non_null(at);
        at[4] = 9;
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
     {"event=handshake_failed", "reason=no_common_suite", " suites:0xfe10"}},
    {USUAL,
     {.name = "1.3, no suite", GCM_13},
     OTHER_SUITES,
     {"event=hello_ignored", "reason=no_common_suite", " suites:0xfe10"}},
    {USUAL,
     {.name = "1.2, no group", ECDSA_12},
     OTHER_GROUPS,
     {"event=handshake_failed", "reason=no_common_suite", " groups:0xfe12,0xfe14"}},
    {USUAL,
     {.name = "1.3, no version", GCM_13},
     OTHER_VERSIONS,
     {"event=hello_ignored", "reason=version", "versions:0xfe11 "}},
    {USUAL,
     {.name = "1.0", ECDSA_12},
     VERSION_1_0,
     {"event=handshake_failed", "reason=version", "versions:1.0 "}},
    {USUAL,
     {.name = "1.2, lengths", ECDSA_12},
     BAD_LENGTHS,
     {"event=handshake_failed", "reason=protocol_error", "offered=versions:1.2 "}},
    {USUAL,
     {.name = "1.3, lengths", GCM_13},
     BAD_LENGTHS,
     {"event=hello_ignored", "reason=protocol_error", "offered=versions:1.3 "}},
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

/* ---- handshakes that go no further ------------------------------------------------------------
 */

/* What never arrives, from the device or at it. */
enum loss {
    DEAF_DEVICE, /* after its two hellos it is gone */
    SMALL_PATH,  /* datagrams of more than a few hundred bytes */
    NO_FINISHED, /* what the device protects, in 1.2; all but its Certificate's beginning, in 1.3 */
    BAD_FINISHED, /* arrives damaged */
    NO_LATER_FRAGMENT,
    NO_ANSWER, /* the device gets what the gate says, and the gate hears nothing */
};

static enum loss loss_now;

static bool is_protected(const uint8_t *datagram)
{
    return (datagram[0] & 0xe0) == 0x20 || bytes_get16(datagram + 3) != 0;
}

static void send_with_loss(void *context, const uint8_t *datagram, size_t len)
{
    const struct device *device = context;
    bool is_hello = datagram[0] == 22 && datagram[13] == 1 && !is_protected(datagram);
    uint8_t *copy = fake_network_copy(datagram, len);
    bool is_lost =
        (loss_now == NO_FINISHED && is_protected(datagram)) ||
        (loss_now == NO_ANSWER && !is_hello) ||
        (loss_now == NO_LATER_FRAGMENT && is_hello && bytes_get24(datagram + 13 + 6) != 0);
    if (loss_now == BAD_FINISHED && is_protected(datagram))
        copy[len - 1] ^= 1;
    if (!is_lost)
        fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, copy, len);
    free(copy);
}

struct timeout {
    struct client_kind kind;
    enum loss loss;
    const char *parts[5];
};

#define LARGE_13 .version = VERSION_1_3, .suites = "TLS13-AES128-GCM-SHA256"

static const struct timeout timeouts[] = {
    {{.name = "1.2 psk, gone", PSK_12, .identity = IDENTITY},
     DEAF_DEVICE,
     {"flight=4 sent=6 largest=", "came_back=none", "detail=it fell silent"}},
    {{.name = "1.2 certificate, gone", ECDSA_12, .certificate = "device"},
     DEAF_DEVICE,
     {"flight=4 sent=6 largest=", "came_back=none", "detail=it fell silent"}},
    {{.name = "1.3 certificate, gone", GCM_13, .certificate = "device"},
     DEAF_DEVICE,
     {"flight=4 sent=6 largest=", "came_back=none", "detail=it fell silent"}},
    {{.name = "1.2 certificate, small path", ECDSA_12, .certificate = "device"},
     SMALL_PATH,
     {"flight=4 sent=", "came_back=hello", "do not reach it; try a smaller mtu"}},
    {{.name = "1.3 certificate, small path", GCM_13, .certificate = "device"},
     SMALL_PATH,
     {"flight=4 sent=", "came_back=ack", "try a smaller mtu"}},
    {{.name = "1.2 certificate, half an answer",
      ECDSA_12,
      .certificate = "device",
      .has_single_records = true},
     NO_FINISHED,
     {"flight=5 sent=", "came_back=part", "its large datagrams"}},
    {{.name = "1.2 certificate, damaged answer",
      ECDSA_12,
      .certificate = "device",
      .has_single_records = true},
     BAD_FINISHED,
     {"flight=5 sent=", "came_back=unreadable", "does not decrypt"}},
    {{.name = "1.3 hello in fragments",
      LARGE_13,
      .is_post_quantum = true,
      .identity = IDENTITY,
      .key = KEY},
     NO_LATER_FRAGMENT,
     {"flight=3 sent=0 largest=0", "came_back=part", "the rest of its hello"}},
    {{.name = "1.2 psk, one way only", PSK_12, .identity = IDENTITY},
     NO_ANSWER,
     {"flight=4 sent=6 largest=", "came_back=none"}},
};

/* A path that loses large datagrams and a device that is dead look different. */
static void timeouts_say_what_came_back(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        const struct timeout *t = &timeouts[i];
        gate_doing("%s", t->kind.name);
        gate_open(gate, USUAL);
        struct device *device = gate_add(gate, &t->kind);
        device->client->send = send_with_loss;
        loss_now = t->loss;
        if (t->kind.is_post_quantum)
            assert_int_equal(wolfSSL_NoKeyShares(device->client->ssl), WOLFSSL_SUCCESS);
        device_connect(device);
        if (t->loss == DEAF_DEVICE) {
            gate_run(gate, 3);
            device->client->is_deaf = true;
        }
        if (t->loss == SMALL_PATH)
            fake_network_set_max_bytes(450);
        gate_run(gate, HANDSHAKE_TIMEOUT_MS + 100);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_timeout), 1);
        for (const char *const *part = t->parts; *part != NULL; part++)
            if (fake_log_count("event=handshake_failed", "reason=timeout", *part, NULL) != 1)
                fail_msg("%s", *part);
    }
    gate_doing(NULL);
}

/* The sizes are those on the wire. */
static void largest_datagram_is_told(void **state)
{
    struct gate *gate = *state;
    const struct client_kind kind = {.name = "1.2", ECDSA_12, .certificate = "device"};
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &kind);
    device_connect(device);
    gate_run(gate, 3);
    device->client->is_deaf = true;
    gate_run(gate, HANDSHAKE_TIMEOUT_MS + 100);
    uint32_t largest = 0;
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        if (packet->direction == GATE_TO_CLIENT && packet->len > largest)
            largest = packet->len;
    }
    char part[32];
    snprintf(part, sizeof(part), "largest=%u ", (unsigned)largest);
    assert_in_range(largest, 600, 1280);
    assert_int_equal(fake_log_count("reason=timeout", part, NULL), 1);
}

/* ---- tickets that a device cannot use ---------------------------------------------------------
 */

#define ADVICE \
    "advice=it cannot use its ticket of DTLS 1.3, as wolfSSL before 5.9.1: set tickets = 1.2"

/* A fatal alert in plaintext, behind the records of the device so far. */
static enum client_outcome send_alert(struct gate *gate, const struct device *device, uint8_t code)
{
    const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, code};
    return gate_inject(gate, &device->addr, alert, sizeof(alert));
}

/* A device that comes back with a ticket, and has got the gate's answers to that many hellos. */
static struct device *come_back(struct gate *gate, const struct client_kind *kind, unsigned hellos)
{
    struct device *first = gate_connected(gate, kind);
    gate_run(gate, 100);
    struct WOLFSSL_SESSION *session = memory_client_session(first->client);
    assert_non_null(session);
    device_close(first);
    gate_run(gate, 10);
    struct device *device = gate_add(gate, kind);
    memory_client_resume(device->client, session);
    memory_client_free_session(session);
    device_connect(device);
    gate_run(gate, 2 * hellos - 1);
    device->client->is_deaf = true;
    return device;
}

/* wolfSSL 5.7.2 sends illegal_parameter in plaintext when it gets the HelloRetryRequest to a hello
 * with a ticket; others might get as far as the ServerHello. */
static void ticket_that_cannot_be_used_is_told(void **state)
{
    static const struct client_kind kinds[] = {
        {.name = "psk", GCM_13, .identity = IDENTITY, .key = KEY},
        {.name = "certificate", GCM_13, .certificate = "device"}};
    struct gate *gate = *state;
    for (unsigned k = 0; k < 2; k++) {
        gate_doing("%s, at the cookie", kinds[k].name);
        gate_open(gate, USUAL);
        struct device *device = come_back(gate, &kinds[k], 1);
        assert_int_equal(send_alert(gate, device, 47), CLIENT_handshake_failed);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=client_alert",
                                        "detail=illegal_parameter", "version=1.3", ADVICE, NULL),
                         1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 1);
        /* Once for each attempt. */
        assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 1);

        gate_doing("%s, at the ServerHello", kinds[k].name);
        gate_open(gate, USUAL);
        device = come_back(gate, &kinds[k], 2);
        assert_int_equal(send_alert(gate, device, 47), CLIENT_handshake);
        gate_run(gate, GIVE_UP_MS + 100);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=client_alert",
                                        "detail=illegal_parameter", ADVICE, NULL),
                         1);
    }
    gate_doing(NULL);
}

/* The advice is for devices with a ticket of ours in DTLS 1.3, and soon after their hello. */
static void other_alerts_are_not_about_tickets(void **state)
{
    static const struct client_kind without = {
        .name = "no ticket", GCM_13, .identity = IDENTITY, .key = KEY};
    static const struct client_kind of_1_2 = {
        .name = "1.2", PSK_12, .identity = IDENTITY, .wants_ticket = true};
    struct gate *gate = *state;
    gate_doing("no ticket");
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &without);
    device_connect(device);
    gate_run(gate, 1);
    device->client->is_deaf = true;
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    gate_doing("1.2");
    gate_open(gate, USUAL);
    device = come_back(gate, &of_1_2, 1);
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    gate_doing("late, of another address, or no fatal alert");
    gate_open(gate, USUAL);
    device = come_back(gate, &without, 1);
    const uint8_t warning[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0};
    assert_int_equal(gate_inject(gate, &device->addr, warning, sizeof(warning)), CLIENT_no_session);
    struct device *other = gate_add(gate, &without);
    assert_int_equal(send_alert(gate, other, 47), CLIENT_no_session);
    gate_run(gate, GIVE_UP_MS);
    assert_int_equal(send_alert(gate, device, 47), CLIENT_no_session);
    assert_int_equal(fake_log_count("advice=", NULL), 0);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 0);
    gate_doing(NULL);
}

int datapath_reasons_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(reason_is_true),
        GATE_TEST(timeouts_say_what_came_back),
        GATE_TEST(largest_datagram_is_told),
        GATE_TEST(ticket_that_cannot_be_used_is_told),
        GATE_TEST(other_alerts_are_not_about_tickets),
    };
    return cmocka_run_group_tests_name("datapath: reasons", tests, NULL, NULL);
}
