/* Handshakes that end before their time, or go no further: the log says why, how far they came, and
 * what came back. */
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
#include "worker/datapath_tests.h"

enum { HANDSHAKE_TIMEOUT_MS = 90000, GIVE_UP_MS = 10000, HELLO_AT = 25 };

static bool is_protected(const uint8_t *datagram)
{
    return (datagram[0] & 0xe0) == 0x20 || bytes_get16(datagram + 3) != 0;
}

/* A fatal alert in plaintext, behind the records of the device so far. */
static enum client_outcome send_alert(struct gate *gate, const struct device *device, uint8_t code)
{
    const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, code};
    return gate_inject(gate, &device->addr, alert, sizeof(alert));
}

/* ---- later ---------------------------------------------------------------------------------- */

/* What is done to a handshake that would go well. */
enum mischief {
    NOTHING,
    ALERT_AFTER_FLIGHT_4, /* in plaintext, with the code of the row, and then nothing */
    GARBAGE_IN_MESSAGE,   /* the device's first message after its hellos has zeros in it */
    OUT_OF_ORDER,         /* a Finished in the place of it */
    TOO_MUCH,             /* repeats without end */
    STRAY_RECORD,         /* one that does not decrypt, and then nothing */
    BEGINS_ANEW,
    GIVES_WAY, /* at max_handshakes */
    MEMORY,    /* there is none for the next step */
    STOP,      /* of the gate */
};

struct ending {
    const char *ini;
    struct client_kind kind;
    enum mischief mischief;
    uint8_t alert;
    const char *parts[5];
};

static const struct ending endings[] = {
    {USUAL,
     {.name = "1.2 psk, alert", PSK_12, .identity = IDENTITY},
     ALERT_AFTER_FLIGHT_4,
     40,
     {"event=handshake_failed", "reason=client_alert", "detail=handshake_failure",
      "flight=4 sent=1 "}},
    {USUAL,
     {.name = "1.3 psk, alert", GCM_13, WITH_PSK},
     ALERT_AFTER_FLIGHT_4,
     80,
     {"event=handshake_failed", "reason=client_alert", "detail=internal_error", "came_back=none"}},
    {USUAL,
     {.name = "1.2, alert without a name", PSK_12, .identity = IDENTITY},
     ALERT_AFTER_FLIGHT_4,
     253,
     {"event=handshake_failed", "reason=client_alert", "detail=an alert without a name"}},
    {USUAL,
     {.name = "1.2, alert of RFC 9325", PSK_12, .identity = IDENTITY},
     ALERT_AFTER_FLIGHT_4,
     116,
     {"event=handshake_failed", "reason=client_alert", "detail=certificate_required"}},
    {USUAL,
     {.name = "1.2 certificate, garbage", ECDSA_12, .certificate = "device"},
     GARBAGE_IN_MESSAGE,
     0,
     {"event=handshake_failed", "reason=protocol_error", "detail=", "offered=versions:1.2 "}},
    {USUAL,
     {.name = "1.2 psk, garbage", PSK_12, .identity = IDENTITY},
     GARBAGE_IN_MESSAGE,
     0,
     {"event=handshake_failed", "reason=unknown_identity", "version=1.2"}},
    {USUAL,
     {.name = "1.2 psk, out of order", PSK_12, .identity = IDENTITY},
     OUT_OF_ORDER,
     0,
     {"event=handshake_failed", "reason=protocol_error", "detail=", "offered=versions:1.2 "}},
    {USUAL,
     {.name = "1.2 psk, too much", PSK_12, .identity = IDENTITY},
     TOO_MUCH,
     0,
     {"event=handshake_failed", "reason=protocol_error", "detail=too many bytes"}},
    {USUAL,
     {.name = "1.3 psk, stray record", GCM_13, WITH_PSK},
     STRAY_RECORD,
     0,
     {"event=handshake_failed", "reason=timeout"}},
    {USUAL,
     {.name = "1.2 certificate, stray record", ECDSA_12, .certificate = "device"},
     STRAY_RECORD,
     0,
     {"event=handshake_failed", "reason=timeout"}},
    {USUAL,
     {.name = "1.2, begins anew", PSK_12, .identity = IDENTITY},
     BEGINS_ANEW,
     0,
     {"event=handshake_failed", "reason=superseded version=1.2", "flight=4 sent=1 "}},
    {USUAL "max_handshakes = 1\n",
     {.name = "1.2, gives way", PSK_12, .identity = IDENTITY},
     GIVES_WAY,
     0,
     {"event=handshake_failed", "reason=superseded",
      "detail=it gave way to another device at max_handshakes"}},
    {USUAL,
     {.name = "1.2, no memory", ECDSA_12, .certificate = "device"},
     MEMORY,
     0,
     {"event=handshake_failed", "reason=internal_error"}},
    {USUAL,
     {.name = "1.2, stop", PSK_12, .identity = IDENTITY},
     STOP,
     0,
     {"event=handshake_failed", "reason=shutdown"}},
};

static enum mischief mischief_now;

static void send_with_mischief(void *context, const uint8_t *datagram, size_t len)
{
    const struct device *device = context;
    uint8_t *copy = fake_network_copy(datagram, len);
    bool is_flight_5 = copy[0] == 22 && copy[13] != 1 && !is_protected(copy);
    if (is_flight_5 && mischief_now == GARBAGE_IN_MESSAGE)
        memset(copy + HELLO_AT, 0, bytes_get16(copy + 11) - 12);
    if (is_flight_5 && mischief_now == OUT_OF_ORDER)
        copy[13] = 20;
    fake_network_send(CLIENT_TO_GATE, &device->addr, &device->to, copy, len);
    free(copy);
}

static void interfere(struct gate *gate, struct device *device, const struct ending *ending)
{
    static const struct client_kind other = {.name = "other", PSK_12, .identity = IDENTITY};
    static uint8_t fragment[1200] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0,    0x04, 0xa3,
                                     16, 0,    0x10, 0, 0, 1, 0, 1, 0, 0, 0x04, 0x97};
    uint8_t stray[40] = {22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27};
    switch (ending->mischief) {
    case ALERT_AFTER_FLIGHT_4: send_alert(gate, device, ending->alert); break;
    case TOO_MUCH:
        for (unsigned i = 0; i < 200; i++) {
            bytes_put16(fragment + 9, (uint16_t)(100 + i));
            gate_inject(gate, &device->addr, fragment, sizeof(fragment));
        }
        break;
    case STRAY_RECORD:
        if (ending->kind.version == VERSION_1_3) {
            memset(stray, 7, sizeof(stray));
            memcpy(stray, (const uint8_t[]){0x2e, 0, 1, 0, 35}, 5);
        }
        gate_inject(gate, &device->addr, stray, sizeof(stray));
        break;
    case BEGINS_ANEW:
        gate_run(gate, 10); /* what was on its way is gone */
        device_connect(gate_add_reborn(gate, &other, device));
        break;
    case GIVES_WAY:
        gate_run(gate, GIVE_UP_MS);
        device_connect(gate_add(gate, &other));
        break;
    case STOP: gate_stop(gate); break;
    default: break;
    }
}

/* What happens to a handshake that has begun. */
static void reason_is_true_later(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        const struct ending *e = &endings[i];
        gate_doing("%s", e->kind.name);
        gate_open(gate, e->ini);
        struct device *device = gate_add(gate, &e->kind);
        device->client->send = send_with_mischief;
        mischief_now = e->mischief;
        device_connect(device);
        gate_run(gate, 3);
        bool is_of_device = e->mischief == GARBAGE_IN_MESSAGE || e->mischief == OUT_OF_ORDER;
        device->client->is_deaf = !is_of_device && e->mischief != MEMORY;
        if (e->mischief == MEMORY)
            gate->memory_left = 0;
        interfere(gate, device, e);
        gate_run(gate, e->mischief == STOP ? 1 : HANDSHAKE_TIMEOUT_MS + 100);
        for (const char *const *part = e->parts; *part != NULL; part++)
            if (fake_log_count(e->parts[0], e->parts[1], *part, NULL) != 1)
                fail_msg("%s", *part);
        assert_int_equal(fake_log_count("advice=", NULL), 0);
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

/* A device that does not take the cookie, whatever it dislikes: the gate keeps nothing of it, but
 * the log has its alert. */
static void alert_of_a_stranger_is_told(void **state)
{
    static const struct client_kind kind = {.name = "1.2", PSK_12, .identity = IDENTITY};
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, &kind);
    device_connect(device);
    gate_run(gate, 1);
    device->client->is_deaf = true;
    assert_int_equal(send_alert(gate, device, 70), CLIENT_no_session);
    assert_int_equal(fake_log_count("event=stranger_alert", "detail=protocol_version", NULL), 1);
    const uint8_t warning[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0};
    assert_int_equal(gate_inject(gate, &device->addr, warning, sizeof(warning)), CLIENT_no_session);
    assert_int_equal(fake_log_count("event=stranger_alert", NULL), 1);
}

int datapath_reasons_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(reason_is_true_later),
        GATE_TEST(timeouts_say_what_came_back),
        GATE_TEST(largest_datagram_is_told),
        GATE_TEST(alert_of_a_stranger_is_told),
    };
    return cmocka_run_group_tests_name("datapath: reasons", tests, NULL, NULL);
}
