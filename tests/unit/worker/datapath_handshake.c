/* Handshakes of every kind of device, and every way in which they fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

static void every_kind_connects(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "hello, gate");
        enum credential credential =
            kind->identity != NULL ? CREDENTIAL_PSK : CREDENTIAL_CERTIFICATE;
        assert_int_equal(counter_get(&gate_counters(gate, 0)->handshakes[kind->version][credential]
                                                                        [HANDSHAKE_established]),
                         1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_cookie_sent), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_handshake_begun), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_established), 1);
        assert_int_equal(gate_client_outcomes(gate, CLIENT_forwarded), 1);
        assert_int_equal(gate_backend_outcomes(gate, BACKEND_forwarded), 1);
        assert_int_equal(fake_log_count("event=session_established", "identity=device1", NULL), 1);
    }
    gate_doing(NULL);
}

/* Begins a handshake and loses the device in it, as soon as the gate has sent its first flight. */
static struct device *lost_device(struct gate *gate, const struct client_kind *kind)
{
    struct device *device = gate_add(gate, kind);
    device_connect(device);
    while (gate_client_outcomes(gate, CLIENT_handshake_begun) == 0)
        gate_run(gate, 1);
    device->client->is_deaf = true;
    return device;
}

enum { RECORD_NUMBER_END = 11 };

/* Under a new record number, and behind what goes before it in plaintext. */
static size_t finished_again(struct device *device, uint8_t record[256])
{
    static const uint8_t finished[] = {20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, [12 + 11] = 0};
    static const uint8_t change_cipher_spec[] = {20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1};
    memcpy(record, change_cipher_spec, sizeof(change_cipher_spec));
    return sizeof(change_cipher_spec) +
           memory_client_seal(device->client, 22, finished, sizeof(finished),
                              record + sizeof(change_cipher_spec), 200);
}

/* The last flight of a DTLS 1.2 handshake is ours and has no timer: it is repeated when the device
 * repeats its own (RFC 6347 section 4.2.4), but not as often as a stranger may like. */
static void last_flight_is_repeated_when_asked_for(void **state)
{
    static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.2 certificate"};
    struct gate *gate = *state;
    uint8_t record[256];
    for (unsigned i = 0; i < 3; i++) {
        gate_doing("%s", kinds[i]);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, gate_kind(kinds[i]));
        const struct packet *ours = fake_network_last(GATE_TO_CLIENT, NULL);
        const struct packet *theirs = fake_network_last(CLIENT_TO_GATE, NULL);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        gate_run(gate, 1000);
        /* The same bytes again are a replay, and what stands in plaintext is anybody's. */
        for (int j = 0; j < 10; j++)
            assert_int_equal(gate_inject(gate, &device->addr, theirs->data, theirs->len),
                             CLIENT_record_discarded);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
        for (int j = 0; j < 10; j++) {
            size_t len = finished_again(device, record);
            assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_handshake);
        }
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 1);
        const struct packet *again = fake_network_last(GATE_TO_CLIENT, NULL);
        assert_int_equal(again->len, ours->len);
        /* ChangeCipherSpec, with a new number: a device may have had to drop it before. */
        assert_memory_equal(again->data, ours->data, RECORD_NUMBER_END - 1);
        assert_int_equal(again->data[RECORD_NUMBER_END - 1], ours->data[RECORD_NUMBER_END - 1] + 1);
        /* After the first data the device has it. */
        gate_assert_echo(gate, device, "data");
        gate_run(gate, 1000);
        before = fake_network_count(GATE_TO_CLIENT, NULL);
        size_t len = finished_again(device, record);
        assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_control);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
    }
    gate_doing(NULL);
}

/* A hello that repeats the one of the session is late or replayed; it is not answered. */
static void hello_of_an_established_session_is_not_answered(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *device = gate_connected(gate, kind);
        gate_assert_echo(gate, device, "data");
        const struct packet *hello = gate_nth(CLIENT_TO_GATE, 1);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        assert_int_equal(gate_inject(gate, &device->addr, hello->data, hello->len),
                         CLIENT_hello_duplicate);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
        gate_assert_echo(gate, device, "more data");
    }
    gate_doing(NULL);
}

/* A device that begins anew in the middle of a handshake is taken at its newest word. */
static void newer_hello_supersedes_a_handshake(void **state)
{
    struct gate *gate = *state;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, USUAL);
        struct device *old = lost_device(gate, kind);
        gate_run(gate, 5); /* what was on its way to it is gone */
        struct device *device = gate_add_reborn(gate, kind, old);
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        gate_assert_echo(gate, device, "data");
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_superseded), 1);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        assert_int_equal(gate_handshake_count(&gate->dp), 0);
    }
    gate_doing(NULL);
}

static void handshakes_at_once_are_limited(void **state)
{
    struct gate *gate = *state;
    const struct client_kind *kind = gate_kind("1.2 psk ccm-8");
    gate_open(gate, USUAL "max_handshakes = 3\nhandshake_timeout = 30s\n");
    for (int i = 0; i < 3; i++) {
        struct device *device = gate_add(gate, kind);
        device_connect(device);
        gate_run(gate, 3);
        device->client->is_deaf = true;
    }
    assert_int_equal(gate_handshake_count(&gate->dp), 3);
    struct device *fourth = gate_add(gate, kind);
    device_connect(fourth);
    gate_run(gate, 100);
    assert_int_equal(fourth->client->state, CLIENT_CONNECTING);
    assert_int_equal(gate_client_outcomes(gate, CLIENT_limit_handshakes), 1);
    assert_int_equal(gate_handshake_count(&gate->dp), 3);
    /* It takes the place of the oldest one when that has had time enough, long before its timeout.
     */
    assert_false(gate_run_until_up(gate, fourth, 9800));
    assert_int_equal(gate_handshake_count(&gate->dp), 3);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_superseded), 0);
    assert_true(gate_run_until_up(gate, fourth, 16000));
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_superseded), 1);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_timeout), 0);
    gate_run(gate, 30000);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_timeout), 2);
}

/* Cookies cost nothing: however many devices ask for one, there is no limit on them. */
static void cookies_do_not_count_as_handshakes(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, USUAL "max_handshakes = 1\n");
    struct device *device = gate_add(gate, gate_kind("1.2 psk ccm-8"));
    device_connect(device);
    const struct packet *hello = gate_nth(CLIENT_TO_GATE, 0);
    for (uint32_t i = 0; i < 200; i++) {
        struct addr stranger = gate_device_addr(1000 + i);
        assert_int_equal(gate_inject(gate, &stranger, hello->data, hello->len), CLIENT_cookie_sent);
    }
    assert_int_equal(gate_handshake_count(&gate->dp), 0);
    assert_true(gate_run_until_up(gate, device, 100));
}

/* One device address, two ports of the gate: two sessions that know nothing of each other. */
static void listeners_are_separate(void **state)
{
    struct gate *gate = *state;
    gate_open(gate, GATE LISTENER PSK LISTENER_AT("other", "5685") PSK);
    struct device *first = gate_connected(gate, gate_kind("1.2 psk ccm-8"));
    struct device *second = gate_add(gate, gate_kind("1.3 psk"));
    second->addr = first->addr;
    second->to = gate_listener_addr(gate, 1);
    device_connect(second);
    /* Both have the same address, so the port of the gate tells them apart. */
    assert_true(gate_run_until_up(gate, second, 100));
    gate_assert_echo(gate, second, "second");
    gate_assert_echo(gate, first, "first");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(counter_get(&gate_counters(gate, i)->sessions), 1);
        assert_int_equal(counter_get(&gate_counters(gate, i)->client[CLIENT_forwarded]), 1);
        assert_int_equal(counter_get(&gate_counters(gate, i)->backend[BACKEND_forwarded]), 1);
    }
    /* A hello for one does not touch the other. */
    device_close(first);
    gate_run(gate, 10);
    assert_int_equal(counter_get(&gate_counters(gate, 0)->sessions), 0);
    assert_int_equal(counter_get(&gate_counters(gate, 1)->sessions), 1);
    gate_assert_echo(gate, second, "second again");
}

/* IPv6 on the device's side; the backend's is IPv4 as ever. */
static void ipv6_devices_are_served(void **state)
{
    struct gate *gate = *state;
    struct addr client;
    struct err err;
    for (const struct client_kind *kind = gate_kinds; kind->name != NULL; kind++) {
        gate_doing("%s", kind->name);
        gate_open(gate, GATE "[listener six]\nlisten = [2001:db8::1]:5684\n"
                             "backend = 127.0.0.1:5683\n" PSK CERTIFICATE CLIENT_CA);
        struct device *device = gate_add(gate, kind);
        assert_true(addr_parse(&client, "[2001:db8::1234]:49152", &err));
        device->addr = client;
        device_connect(device);
        assert_true(gate_run_until_up(gate, device, 100));
        gate_assert_echo(gate, device, "over IPv6");
        assert_int_equal(fake_log_count("client=[2001:db8::1234]:49152", NULL), 1);
        /* Another scope or port is another device. */
        const struct packet *last = fake_network_last(CLIENT_TO_GATE, NULL);
        client.scope_id = 2;
        assert_int_equal(gate_inject(gate, &client, last->data, last->len), CLIENT_no_session);
    }
    gate_doing(NULL);
}

/* The library's records in the handshake are not authentic: one that breaks the protocol ends it.
 */
static void broken_message_ends_the_handshake(void **state)
{
    /* ClientKeyExchange in its right place, with an identity longer than the message. */
    static const uint8_t broken[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 16, 16, 0,
                                     0,  4,    0,    2, 0, 0, 0, 0, 0, 4, 9, 9, 9,  9};
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct device *device = lost_device(gate, gate_kind("1.2 psk ccm-8"));
    assert_int_equal(gate_inject(gate, &device->addr, broken, sizeof(broken)),
                     CLIENT_handshake_failed);
    assert_int_equal(gate_handshakes(gate, HANDSHAKE_protocol_error), 1);
    uint32_t sent = fake_network_count(GATE_TO_CLIENT, NULL);
    gate_run(gate, 600000);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), sent);
}

/* The group of X25519 and ML-KEM-768: the device's share does not fit into one datagram. */
static void post_quantum_key_share(void **state)
{
    enum { SHARE_BYTES = 1216, CIPHERTEXT_BYTES = 1120 };
    struct gate *gate = *state;
    gate_open(gate, USUAL);
    struct client_kind kind = *gate_kind("1.3 certificate");
    kind.has_small_hello = false;
    kind.is_post_quantum = true;
    gate_assert_echo(gate, gate_connected(gate, &kind), "quantum");
    size_t bytes[DIRECTION_COUNT] = {0};
    for (uint32_t i = 0; i < fake_network_captured(); i++) {
        const struct packet *packet = fake_network_packet(i);
        bytes[packet->direction] += packet->len;
    }
    assert_true(bytes[CLIENT_TO_GATE] > SHARE_BYTES + 300);
    assert_true(bytes[GATE_TO_CLIENT] > CIPHERTEXT_BYTES + 300);
}

int datapath_handshake_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(post_quantum_key_share),
        GATE_TEST(every_kind_connects),
        GATE_TEST(last_flight_is_repeated_when_asked_for),
        GATE_TEST(hello_of_an_established_session_is_not_answered),
        GATE_TEST(newer_hello_supersedes_a_handshake),
        GATE_TEST(handshakes_at_once_are_limited),
        GATE_TEST(cookies_do_not_count_as_handshakes),
        GATE_TEST(listeners_are_separate),
        GATE_TEST(ipv6_devices_are_served),
        GATE_TEST(broken_message_ends_the_handshake),
    };
    return cmocka_run_group_tests_name("datapath: handshake", tests, NULL, NULL);
}
