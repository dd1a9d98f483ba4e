/* Alerts of handshakes: those that anybody may forge, and ours when they get lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    TYPE_ALERT = 21,
    TYPE_HANDSHAKE = 22,
    CLIENT_HELLO = 1,
    RECORD_HEADER = 13,
    GIVE_UP_MS = 10000,
    REPEATS_MAX = 3,
    KEPT_MS = 60000,
    KEPT_MAX = 64,
};

/* ---- of the device, or forged --------------------------------------------------------------- */

/* A plaintext alert, with a number that has not been used. */
static size_t make_alert(uint8_t *out, uint8_t level, uint8_t code)
{
    static uint16_t number = 1000;
    number++;
    const uint8_t record[] = {
        TYPE_ALERT,      0xfe, 0xfd, 0,     0,   0, 0, 0, 0, (uint8_t)(number >> 8),
        (uint8_t)number, 0,    2,    level, code};
    memcpy(out, record, sizeof(record));
    return sizeof(record);
}

/* Everything that could end a handshake, at once. */
static void forge_alerts(struct gate *gate, const struct addr *from)
{
    static const uint8_t alerts[][2] = {{1, 0},   {2, 0},  {2, 20}, {2, 40},
                                        {2, 255}, {1, 90}, {0, 0}};
    uint8_t datagram[2048];
    for (unsigned i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
        gate_inject(gate, from, datagram, make_alert(datagram, alerts[i][0], alerts[i][1]));
    /* A malformed one, and one behind a record that the device has sent itself. */
    size_t len = make_alert(datagram, 2, 40);
    datagram[12] = 1;
    gate_inject(gate, from, datagram, len - 1);
    const struct packet *last = fake_network_last(CLIENT_TO_GATE, from);
    memcpy(datagram, last->data, last->len);
    len = last->len + make_alert(datagram + last->len, 2, 40);
    gate_inject(gate, from, datagram, len);
}

static void forged_alerts_do_not_end_a_handshake(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        for (int is_lossy = 0; is_lossy < 2; is_lossy++) {
            gate_doing("%s, %s", kind->name, is_lossy ? "lossy" : "not lossy");
            gate_open(gate, USUAL);
            /* While an alert is believed, the gate is silent; the device's own clock must do. */
            if (is_lossy)
                fake_network_plan(LOSE, GATE_TO_CLIENT, 1);
            struct device *device = gate_add(gate, kind);
            device_connect(device);
            for (int i = 0; i < 5000 && device->client->state == CLIENT_CONNECTING; i++) {
                forge_alerts(gate, &device->addr);
                gate_run(gate, 1);
            }
            assert_int_equal(device->client->state, CLIENT_UP);
            gate_assert_echo(gate, device, "unharmed");
            assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
            assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_failed), 0);
            gate_run(gate, GIVE_UP_MS);
            assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 0);
        }
    }
    gate_doing(NULL);
}

/* Somebody on the way puts an alert behind a datagram of the device. */
static void forged_alert_behind_a_datagram_of_the_device(void **state)
{
    struct gate *gate = *state;
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 certificate", "1.3 psk",
                                        "1.3 certificate", "1.2 psk ccm-8, single records"};
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        gate_open(gate, USUAL);
        gate_connected(gate, gate_kind(kinds[i]));
        uint32_t count = fake_network_count(CLIENT_TO_GATE, NULL);
        for (uint32_t n = 0; n < count; n++) {
            uint8_t datagram[2048];
            gate_doing("%s %u, datagram %u of %u", kinds[i], i, n, count);
            gate_open(gate, USUAL);
            fake_network_plan(LOSE, CLIENT_TO_GATE, n);
            struct device *device = gate_add(gate, gate_kind(kinds[i]));
            device_connect(device);
            while (fake_network_count(CLIENT_TO_GATE, NULL) <= n)
                gate_run(gate, 1);
            const struct packet *packet = gate_nth(CLIENT_TO_GATE, n);
            memcpy(datagram, packet->data, packet->len);
            size_t len = packet->len + make_alert(datagram + packet->len, 2, 40);
            gate_inject(gate, &device->addr, datagram, len);
            assert_true(gate_run_until_up(gate, device, 20000));
            gate_assert_echo(gate, device, "unharmed");
            assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_failed), 0);
        }
    }
    gate_doing(NULL);
}

/* Begins a handshake and loses the device in it, as soon as the gate has sent its first flight. */
static struct device *lost_device(struct gate *gate, const char *kind)
{
    gate_open(gate, USUAL);
    struct device *device = gate_add(gate, gate_kind(kind));
    device_connect(device);
    while (gate_client_outcomes(gate, CLIENT_handshake_begun) == 0)
        gate_run(gate, 1);
    device->client->is_deaf = true;
    gate_run(gate, 5);
    return device;
}

/* The log tells at once; the handshake fails when nothing else has come for a while, and the device
 * hears nothing in between. */
static void device_may_give_up(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.3 psk"};
    struct gate *gate = *state;
    uint8_t alert[64];
    for (int i = 0; i < 2; i++) {
        gate_doing("%s", kinds[i]);
        struct device *device = lost_device(gate, kinds[i]);
        size_t len = make_alert(alert, 2, 90);
        uint64_t given_up_ms = gate->now_ms;
        uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, alert, len), CLIENT_handshake);
        assert_int_equal(fake_log_count("event=handshake_stalled", "reason=client_alert",
                                        "detail=user_canceled", NULL),
                         1);
        gate_run(gate, 5000);
        len = make_alert(alert, 2, 40);
        assert_int_equal(gate_inject(gate, &device->addr, alert, len), CLIENT_handshake);
        gate_run(gate, given_up_ms + GIVE_UP_MS - 1 - gate->now_ms);
        assert_int_equal(gate_handshake_count(&gate->dp), 1);
        gate_run(gate, 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_client_alert), 1);
        assert_int_equal(fake_log_count("event=handshake_failed", "reason=client_alert",
                                        "detail=user_canceled", NULL),
                         1);
        assert_int_equal(fake_log_count("event=handshake_stalled", NULL), 1);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
        gate_run(gate, 600000);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
    }
    gate_doing(NULL);
}

/* A warning is no end, and does not keep the gate from repeating itself. */
static void warning_changes_nothing(void **state)
{
    struct gate *gate = *state;
    uint8_t alert[64];
    struct device *device = lost_device(gate, "1.2 psk ccm-8");
    uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
    size_t len = make_alert(alert, 1, 90);
    assert_int_equal(gate_inject(gate, &device->addr, alert, len), CLIENT_handshake);
    gate_run(gate, 2000);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent + 1);
    assert_int_equal(fake_log_count("event=handshake_stalled", NULL), 0);
}

/* ---- ours ----------------------------------------------------------------------------------- */

struct refused {
    struct client_kind kind;
    int alert;
};

/* Those that fail over something else than a hello. */
static const struct refused refuseds[] = {
    {{.name = "1.2 unknown identity", PSK_12, .identity = "nobody"}, 115},
    {{.name = "1.2 unknown CA", ECDSA_12, .certificate = "rogue-device"}, 48},
    {{.name = "1.2 unknown CA, cid",
      ECDSA_12,
      .certificate = "rogue-device",
      .has_cid = true,
      .cid_bytes = 8},
     48},
    {{.name = "1.2 no certificate", ECDSA_12}, 40},
    {{.name = "1.3 unknown CA", GCM_13, .certificate = "rogue-device"}, 48},
    {{.name = "1.3 unknown CA, cid",
      GCM_13,
      .certificate = "rogue-device",
      .has_cid = true,
      .cid_bytes = 8},
     48},
    {{.name = "1.3 no certificate", GCM_13}, 116},
};
enum { REFUSEDS = sizeof(refuseds) / sizeof(refuseds[0]) };

static struct device *refused_device(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_add(gate, kind);
    uint64_t failed = gate_client_outcomes(gate, CLIENT_handshake_failed);
    device_connect(device);
    while (gate_client_outcomes(gate, CLIENT_handshake_failed) == failed)
        gate_run(gate, 1);
    return device;
}

/* The last datagram of the device that begins with what a flight begins with. */
static const struct packet *flight_of(const struct device *device)
{
    for (uint32_t i = fake_network_captured(); i > 0; i--) {
        const struct packet *packet = fake_network_packet(i - 1);
        if (packet->direction == CLIENT_TO_GATE && addr_equal(&packet->from, &device->addr) &&
            ((packet->data[0] == TYPE_HANDSHAKE && packet->data[RECORD_HEADER] != CLIENT_HELLO) ||
             (packet->data[0] & 0xe0) == 0x20))
            return packet;
    }
    fail_msg("no flight");
    return NULL;
}

static void lost_alert_is_sent_again_when_the_device_repeats_itself(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < REFUSEDS; i++) {
        gate_doing("%s", refuseds[i].kind.name);
        gate_open(gate, USUAL);
        refused_device(gate, &refuseds[i].kind);
        uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
        gate_open(gate, USUAL);
        fake_network_plan(LOSE, GATE_TO_CLIENT, sent - 1);
        struct device *device = refused_device(gate, &refuseds[i].kind);
        gate_run(gate, 500);
        assert_int_not_equal(device->client->state, CLIENT_BROKEN);
        gate_run(gate, 1500);
        assert_int_equal(device->client->state, CLIENT_BROKEN);
        assert_int_equal(device->client->alert_received, refuseds[i].alert);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_alert_repeated), 1);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent + 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 0);
    }
    gate_doing(NULL);
}

/* Whoever has recorded the device's flight gets little out of it. */
static void alert_is_repeated_only_a_few_times(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < REFUSEDS; i++) {
        gate_doing("%s", refuseds[i].kind.name);
        gate_open(gate, USUAL);
        struct device *device = refused_device(gate, &refuseds[i].kind);
        uint64_t failed_ms = gate->now_ms, before_ms = gate->now_ms;
        const struct packet *flight = flight_of(device);
        device->client->is_deaf = true;
        for (int n = 0; n < 300; n++) {
            uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
            gate_inject(gate, &device->addr, flight->data, flight->len);
            if (fake_network_count(GATE_TO_CLIENT, NULL) != sent) {
                assert_true(fake_network_last(GATE_TO_CLIENT, NULL)->len <= flight->len);
                assert_true(gate->now_ms - before_ms >= 250);
                before_ms = gate->now_ms;
            }
            gate_run(gate, 10);
        }
        assert_int_equal(gate_client_outcomes(gate, CLIENT_alert_repeated), REPEATS_MAX);
        assert_int_equal(gate->now_ms - failed_ms >= 3000, true);
    }
    gate_doing(NULL);
}

static void alert_is_not_repeated(struct gate *gate, const struct addr *from, const void *data,
                                  size_t len)
{
    uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
    enum client_outcome outcome = gate_inject(gate, from, data, len);
    assert_true(outcome == CLIENT_no_session || outcome == CLIENT_cid_unknown);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
}

/* To nobody else, for nothing shorter, not for data, and not for long. */
static void alert_is_repeated_for_a_flight_only(void **state)
{
    static const uint8_t data[64] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 51};
    static const uint8_t data_1_3[64] = {0x2f, 0, 9, 0, 59};
    static const uint8_t shorter[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 16};
    struct gate *gate = *state;
    uint8_t alert[64];
    for (int i = 0; i < REFUSEDS; i++) {
        gate_doing("%s", refuseds[i].kind.name);
        gate_open(gate, USUAL);
        struct device *device = refused_device(gate, &refuseds[i].kind);
        const struct packet *flight = flight_of(device);
        struct addr other = gate_device_addr(500);
        device->client->is_deaf = true;
        gate_run(gate, 1000);
        alert_is_not_repeated(gate, &other, flight->data, flight->len);
        alert_is_not_repeated(gate, &device->addr, data, sizeof(data));
        alert_is_not_repeated(gate, &device->addr, data_1_3, sizeof(data_1_3));
        alert_is_not_repeated(gate, &device->addr, shorter, sizeof(shorter));
        alert_is_not_repeated(gate, &device->addr, alert, make_alert(alert, 2, 40));
        assert_int_equal(gate_inject(gate, &device->addr, flight->data, flight->len),
                         CLIENT_alert_repeated);
        gate_run(gate, KEPT_MS);
        alert_is_not_repeated(gate, &device->addr, flight->data, flight->len);
    }
    gate_doing(NULL);
}

/* A device that has come back with better credentials is not reminded of its failure, neither in
 * its session nor after it. */
static void better_handshake_forgets_the_alert(void **state)
{
    struct gate *gate = *state;
    for (int i = 0; i < REFUSEDS; i++) {
        gate_doing("%s", refuseds[i].kind.name);
        gate_open(gate, USUAL);
        struct device *refused = refused_device(gate, &refuseds[i].kind);
        const struct packet *flight = flight_of(refused);
        gate_run(gate, 5);
        struct device *device = gate_add_reborn(gate, gate_kind("1.2 psk ccm-8"), refused);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        gate_assert_echo(gate, device, "in use");
        device_close(device);
        gate_run(gate, 1000);
        alert_is_not_repeated(gate, &device->addr, flight->data, flight->len);
    }
    gate_doing(NULL);
}

/* The latest ones are kept, however many fail. */
static void only_so_many_alerts_are_kept(void **state)
{
    enum { DEVICES = KEPT_MAX + 8 };
    struct gate *gate = *state;
    const struct packet *flights[DEVICES];
    gate_open(gate, USUAL);
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = refused_device(gate, &refuseds[0].kind);
        flights[i] = flight_of(device);
    }
    gate_run(gate, 300);
    for (int i = 0; i < DEVICES; i++) {
        enum client_outcome outcome =
            gate_inject(gate, &flights[i]->from, flights[i]->data, flights[i]->len);
        assert_int_equal(outcome,
                         i < DEVICES - KEPT_MAX ? CLIENT_no_session : CLIENT_alert_repeated);
    }
}

int datapath_alerts_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(forged_alerts_do_not_end_a_handshake),
        GATE_TEST(forged_alert_behind_a_datagram_of_the_device),
        GATE_TEST(device_may_give_up),
        GATE_TEST(warning_changes_nothing),
        GATE_TEST(lost_alert_is_sent_again_when_the_device_repeats_itself),
        GATE_TEST(alert_is_repeated_only_a_few_times),
        GATE_TEST(alert_is_repeated_for_a_flight_only),
        GATE_TEST(better_handshake_forgets_the_alert),
        GATE_TEST(only_so_many_alerts_are_kept),
    };
    return cmocka_run_group_tests_name("datapath: alerts", tests, NULL, NULL);
}
