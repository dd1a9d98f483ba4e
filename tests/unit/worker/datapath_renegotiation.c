/* Handshake messages in a session of DTLS 1.2: a renegotiation is refused, and the session goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/datapath_tests.h"

enum {
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    HELLO_REQUEST = 0,
    CLIENT_HELLO = 1,
    FINISHED = 20,
    NO_RENEGOTIATION = 100,
    MESSAGE_LEN = 52,
    RECORD_ROOM = 256,
};

static const char *const kinds[] = {"1.2 psk ccm-8", "1.2 psk gcm", "1.2 certificate",
                                    "1.2 psk ccm-8, cid", "1.2 psk ccm-8, cid 4"};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* An authentic record with a handshake message, or the first bytes of one. */
static size_t make_message(struct device *device, uint8_t type, uint8_t sequence, uint8_t bytes,
                           uint8_t *record)
{
    const uint8_t header[] = {type, 0, 0, MESSAGE_LEN, 0, sequence, 0, 0, 0, 0, 0, bytes};
    uint8_t message[sizeof(header) + MESSAGE_LEN] = {0};
    memcpy(message, header, sizeof(header));
    message[12] = 0xfe;
    message[13] = 0xfd;
    return memory_client_seal(device->client, TYPE_HANDSHAKE, message, sizeof(header) + bytes,
                              record, RECORD_ROOM);
}

static struct device *new_session(struct gate *gate, const struct client_kind *kind, bool is_used)
{
    gate_open(gate, USUAL);
    struct device *device = gate_connected(gate, kind);
    if (is_used)
        gate_assert_echo(gate, device, "in use");
    gate_run(gate, 1000);
    return device;
}

static void assert_refused(struct gate *gate, struct device *device, const uint8_t *record,
                           size_t len)
{
    uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
    device->client->alert_received = -1;
    assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_renegotiation_refused);
    assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 1);
    assert_true(fake_network_last(GATE_TO_CLIENT, NULL)->len < len);
    gate_run(gate, 5);
    assert_int_equal(device->client->alert_received, NO_RENEGOTIATION);
    assert_int_equal(device->client->state, CLIENT_UP);
}

static void renegotiation_is_refused_and_the_session_goes_on(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2 * KINDS; i++) {
        uint8_t record[RECORD_ROOM];
        bool is_used = i % 2 == 1;
        gate_doing("%s, %s", kinds[i / 2], is_used ? "in use" : "fresh");
        struct device *device = new_session(gate, gate_kind(kinds[i / 2]), is_used);
        /* Again and again, with any number of the message. */
        for (uint8_t sequence = 0; sequence < 4; sequence++) {
            size_t len = make_message(device, CLIENT_HELLO, sequence, MESSAGE_LEN, record);
            assert_refused(gate, device, record, len);
            /* Not a second time for the same record. */
            assert_int_equal(gate_inject(gate, &device->addr, record, len),
                             CLIENT_record_discarded);
            gate_assert_echo(gate, device, "goes on");
            gate_run(gate, 1000);
        }
        gate_run(gate, 90000);
        assert_int_equal(gate_handshakes(gate, HANDSHAKE_established), 1);
        assert_int_equal(gate_session_count(&gate->dp), 1);
        gate_assert_echo(gate, device, "and on");
    }
    gate_doing(NULL);
}

/* A device that asks in a loop is told once a second. */
static void loop_of_requests_gets_few_answers(void **state)
{
    struct gate *gate = *state;
    uint8_t record[RECORD_ROOM];
    struct device *device = new_session(gate, gate_kind(kinds[0]), true);
    device->client->is_deaf = true;
    uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
    for (uint32_t i = 0; i < 300; i++) {
        size_t len = make_message(device, CLIENT_HELLO, 0, MESSAGE_LEN, record);
        assert_int_equal(gate_inject(gate, &device->addr, record, len),
                         CLIENT_renegotiation_refused);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before + 1 + i / 100);
        gate_run(gate, 10);
    }
    assert_int_equal(gate_session_count(&gate->dp), 1);
}

static void data_around_the_hello_arrives(void **state)
{
    struct gate *gate = *state;
    uint8_t record[3 * RECORD_ROOM];
    struct device *device = new_session(gate, gate_kind(kinds[0]), true);
    uint32_t forwarded = fake_network_count(GATE_TO_BACKEND, NULL);
    size_t len =
        memory_client_seal(device->client, TYPE_APPLICATION_DATA, "x", 1, record, RECORD_ROOM);
    len += make_message(device, CLIENT_HELLO, 0, MESSAGE_LEN, record + len);
    len += memory_client_seal(device->client, TYPE_APPLICATION_DATA, "y", 1, record + len,
                              RECORD_ROOM);
    assert_int_equal(gate_inject(gate, &device->addr, record, len), CLIENT_forwarded);
    assert_int_equal(fake_network_count(GATE_TO_BACKEND, NULL), forwarded + 2);
    gate_run(gate, 5);
    assert_int_equal(device->client->alert_received, NO_RENEGOTIATION);
    gate_assert_echo(gate, device, "goes on");
}

/* Whoever cannot make an authentic record gets no answer, fresh session or not. */
static void forged_hello_is_discarded(void **state)
{
    struct gate *gate = *state;
    for (unsigned i = 0; i < 2 * KINDS; i++) {
        uint8_t record[RECORD_ROOM];
        gate_doing("%s, %u", kinds[i / 2], i % 2);
        struct device *device = new_session(gate, gate_kind(kinds[i / 2]), i % 2 == 1);
        size_t len = make_message(device, CLIENT_HELLO, 0, MESSAGE_LEN, record);
        uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
        for (size_t at = 5; at < len; at++) { /* the epoch is before that */
            uint8_t forged[RECORD_ROOM];
            memcpy(forged, record, len);
            forged[at] ^= 1;
            gate_inject(gate, &device->addr, forged, len);
        }
        assert_int_equal(gate_client_outcomes(gate, CLIENT_renegotiation_refused), 0);
        assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
        assert_refused(gate, device, record, len);
    }
    gate_doing(NULL);
}

/* What is left of the handshake, or comes twice, does nothing. Anything else that an authentic
 * device should not send may end its session, with an alert; what it cannot do is to begin a
 * handshake, or to be taken for a refused one. */
static void other_messages_are_ignored_or_fatal(void **state)
{
    struct gate *gate = *state;
    uint8_t record[RECORD_ROOM];
    uint32_t survived = 0;
    for (unsigned type = 0; type < 256; type++) {
        for (uint8_t sequence = 0; sequence < 6; sequence += 5) {
            if (type == CLIENT_HELLO)
                continue;
            gate_doing("message %u with number %u", type, sequence);
            struct device *device = new_session(gate, gate_kind(kinds[0]), true);
            uint32_t before = fake_network_count(GATE_TO_CLIENT, NULL);
            size_t len = make_message(device, (uint8_t)type, sequence, MESSAGE_LEN, record);
            enum client_outcome outcome = gate_inject(gate, &device->addr, record, len);
            if (outcome == CLIENT_control) {
                assert_int_equal(fake_network_count(GATE_TO_CLIENT, NULL), before);
                gate_assert_echo(gate, device, "goes on");
                survived++;
                continue;
            }
            assert_int_equal(outcome, CLIENT_session_closed);
            assert_int_equal(gate_closed(gate, CLOSE_fatal_alert), 1);
            assert_in_range(fake_network_count(GATE_TO_CLIENT, NULL), before, before + 1);
            /* It said so itself: of a message that comes too late nothing is thought. */
            assert_true(sequence == 0 || type != FINISHED);
        }
    }
    assert_in_range(survived, 1, 511);
    gate_doing(NULL);
}

/* A part of a hello is a request too, and no memory is kept for the rest. */
static void fragment_of_a_hello_is_refused(void **state)
{
    struct gate *gate = *state;
    uint8_t record[RECORD_ROOM];
    struct device *device = new_session(gate, gate_kind(kinds[0]), true);
    for (uint8_t bytes = 0; bytes < MESSAGE_LEN; bytes++) {
        gate_doing("%u bytes", bytes);
        size_t len = make_message(device, CLIENT_HELLO, 0, bytes, record);
        assert_int_equal(gate_inject(gate, &device->addr, record, len),
                         CLIENT_renegotiation_refused);
    }
    gate_doing(NULL);
    gate_assert_echo(gate, device, "goes on");
}

/* RFC 5746 section 3.6: who asks for renegotiation_info gets an empty one. */
static void device_is_told_that_renegotiation_is_safe(void **state)
{
    static const uint8_t empty_info[] = {0xff, 0x01, 0, 1, 0};
    struct gate *gate = *state;
    for (int has_info = 0; has_info < 2; has_info++) {
        struct client_kind kind = *gate_kind("1.2 psk ccm-8");
        bool was_told = false;
        kind.has_renegotiation_info = has_info == 1;
        gate_open(gate, USUAL);
        gate_connected(gate, &kind);
        for (uint32_t i = 0; i < fake_network_captured(); i++) {
            const struct packet *packet = fake_network_packet(i);
            was_told |= packet->direction == GATE_TO_CLIENT &&
                        memmem(packet->data, packet->len, empty_info, sizeof(empty_info)) != NULL;
        }
        assert_int_equal(was_told, has_info);
    }
}

int datapath_renegotiation_tests(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(renegotiation_is_refused_and_the_session_goes_on),
        GATE_TEST(loop_of_requests_gets_few_answers),
        GATE_TEST(data_around_the_hello_arrives),
        GATE_TEST(forged_hello_is_discarded),
        GATE_TEST(other_messages_are_ignored_or_fatal),
        GATE_TEST(fragment_of_a_hello_is_refused),
        GATE_TEST(device_is_told_that_renegotiation_is_safe),
    };
    return cmocka_run_group_tests_name("datapath: renegotiation", tests, NULL, NULL);
}
